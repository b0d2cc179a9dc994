"""What callers are shown of each kind of row."""
