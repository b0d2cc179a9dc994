"""The keeper role: a small process on each hypervisor host, apart from compute."""
