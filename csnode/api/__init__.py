"""How a command of the CloudStack API is declared; everything else is read off the declaration."""
