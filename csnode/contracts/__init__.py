"""What roles may ask of each other, a contract a file."""
