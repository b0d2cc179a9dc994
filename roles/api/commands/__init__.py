"""The commands, a file a subject; found by entry point (csnode.commands), like a third party's."""
