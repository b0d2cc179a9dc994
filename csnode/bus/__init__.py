"""Events in one direction, service calls in the other."""
