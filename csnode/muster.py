"""Muster: keeps the roll of who belongs to the cluster right, from the rows of the data service."""
