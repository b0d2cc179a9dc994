"""The client side of the data service: store, change, view."""
