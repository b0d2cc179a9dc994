"""How a keeper asks other machines whether they are there."""
