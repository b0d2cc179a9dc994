"""The data role: every object in the cloud, and the numbered feed of their changes."""
