"""`csnode apis`: the commands of the CloudStack API."""

from __future__ import annotations

import click

from csnode.api import catalog
from csnode.api.command import Declaration, load_commands
from csnode.cli import show


@click.command("apis", short_help="The API commands.")
@show.output_option("markdown")
def command(output: str) -> None:
    """List the API commands: who may call each, and what it does.

    JSON is what listApis answers; markdown is the documentation of every parameter and field.
    """
    declared = sorted(load_commands().values(), key=lambda d: d.name)
    match output:
        case "json":
            show.as_json([catalog.describe(d) for d in declared])
        case "markdown":
            print(catalog.markdown())
        case _:
            columns = ("command", "answers", "for", "does")
            show.table(f"{len(declared)} commands", columns, map(_row, declared))


def _row(declared: Declaration) -> tuple[str, ...]:
    whom = "anybody" if declared.open else declared.allows.name.lower().replace("_", " ")
    does = (declared.request.__doc__ or "").strip().partition("\n")[0]
    return declared.name, declared.answers.name.lower(), whom, does
