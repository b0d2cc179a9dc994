"""The compute role: runs machines on the host it is on."""
