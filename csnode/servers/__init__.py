"""The doors to outside servers that several parts of the kernel use: a file each."""
