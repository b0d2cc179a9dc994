"""The network role: guest networks and their routers, on every host that carries them."""
