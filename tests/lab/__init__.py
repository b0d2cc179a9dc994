"""The lab: several hosts on one machine, and csnode split over them.

    python -m tests.lab up | status | down | exec HOST COMMAND... | cut HOST | heal HOST | ...

A host is a set of namespaces (network, mount, uts, ipc, pid) with a first process of its own: when
that is killed, everything on the host is gone at once, as when power is. All hosts are plugged into
one switch. Nothing of the machine itself is changed but for one network interface to that switch.

`plan.py` says which hosts there are and what csnode stands on; a change there is a line.
"""
