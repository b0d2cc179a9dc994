"""What the compute role can drive: libvirt, and simulated hosts."""
