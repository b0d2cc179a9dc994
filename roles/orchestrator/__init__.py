"""The orchestrator role: takes jobs to their end."""
