"""The nouns: what the data service keeps, a file each."""
