"""python -m csnode."""

from csnode.cli.main import main

main()
