"""What drivers must do, an interface a file."""
