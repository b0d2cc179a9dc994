"""`csnode roles`: what a node may play."""

from __future__ import annotations

import click

from csnode.cli import show
from csnode.plugins import found, load


@click.command("roles", short_help="The roles that can be played.")
@show.output_option()
def command(output: str) -> None:
    """List the installed roles, csnode's and plug-ins', and what each does."""
    rows = [
        {"role": name, "does": _first_line(name), "package": _package(name)}
        for name in found("roles")
    ]
    if output == "json":
        show.as_json(rows)
    else:
        show.table("", ("role", "does", "package"), [tuple(row.values()) for row in rows])


def _first_line(role: str) -> str:
    """Return what the role's module says of itself: "The data role: keeps every object"."""
    module = __import__(load("roles", role).__module__, fromlist=["__doc__"])
    line = (module.__doc__ or "").strip().partition("\n")[0]
    return line.partition(": ")[2] or line


def _package(role: str) -> str:
    offered = found("roles")[role].dist
    return f"{offered.name} {offered.version}" if offered else ""
