"""The data role from within."""
