"""What the orchestrator can do: a verb a file."""
