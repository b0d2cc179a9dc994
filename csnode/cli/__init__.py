"""The command line, a subcommand a file; main.py finds them by their names."""
