"""Ways to make sure that a host is off."""
