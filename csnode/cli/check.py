"""`csnode check`: would a node with this configuration start here?"""

from __future__ import annotations

import click

from csnode.cli import ending, machine
from csnode.cli.chosen import Chosen


@click.command("check", short_help="Would a node with this configuration start here?")
@click.pass_context
def command(ctx: click.Context) -> None:
    """Check the configuration and the tools its drivers need; print only what is wrong.

    Exit code 0: a node would start. 78: the configuration is wrong. 69: this machine lacks
    something; `csnode doctor` says how to get it.
    """
    chosen: Chosen = ctx.obj
    config = chosen.config()
    lacks = [finding for finding in machine.examine(config) if finding.lack]
    for finding in lacks:
        print(f"{finding.part}: {finding.lack}")
    if lacks:
        ctx.exit(ending.UNAVAILABLE)
    print(f"{chosen.file or 'defaults'}: fine")
