"""Who is alive, playing which role, at which endpoints."""
