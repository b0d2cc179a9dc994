"""csnode: an infrastructure cloud of loosely coupled components in one executable."""

__version__ = "0.1.0"
