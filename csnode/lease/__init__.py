"""Leases: held by one at a time, with a fence that only grows; a backend a file."""
