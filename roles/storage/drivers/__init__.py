"""Storage drivers: dir keeps qcow2 files in a folder, sim keeps nothing but names."""
