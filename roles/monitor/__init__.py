"""The monitor role: says who is up, who is gone, and how much there is."""
