"""Storage drivers against real folders, real qemu-img and a real web server."""
