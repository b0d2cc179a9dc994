"""The drivers of the network role, and the parts they are made of."""
