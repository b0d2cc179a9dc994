"""Sagas: work that survives a crash, and cleans up after a failure."""
