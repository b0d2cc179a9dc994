"""`csnode data`: a stopped cloud's rows to another database; its schema up or down."""

from __future__ import annotations

import asyncio
import sys
from typing import Any

import click
import msgspec

from csnode import log, plugins
from csnode.cli.chosen import Chosen
from csnode.faults import Invalid

SQLITE, POSTGRESQL = "sqlite", "postgresql"


@click.group("data", short_help="Move the rows to another database; change the schema.")
def command() -> None:
    """Move a database, or change its schema, while no data process uses it.

    \b
      csnode data migrate --from sqlite --to postgresql://csnode@db/csnode
      csnode data schema               up to what this csnode knows
      csnode data schema --to 0003     back, for a csnode of wire 3
    """


@command.command("migrate", short_help="Copy a whole cloud into an empty database.")
@click.option("--from", "since", required=True, metavar="sqlite[:PATH]|postgresql[:URL]")
@click.option("--to", required=True, metavar="sqlite[:PATH]|postgresql[:URL]")
@click.pass_context
def migrate(ctx: click.Context, since: str, to: str) -> None:
    """Copy every row, from SQLite to PostgreSQL or back, and check what arrived.

    Stop every data process first. The source stays as it is; the target has to be empty, and stays
    so if anything goes wrong. What is not given comes from [data]; a password from its
    password_file, or ~/.pgpass. Afterwards set [data] url (or clear it) and start.
    """
    log.start("error", "text")
    chosen: Chosen = ctx.obj
    config, role = chosen.config(), plugins.load("roles", "data")
    given = config.section("data", role.config_type())
    ends = _end(given, since), _end(given, to)
    moved = asyncio.run(role.move(*ends, config.node.state, _progress))
    print(f"\r{'':60}\r", end="", file=sys.stderr)
    tables = sum(1 for table in moved.tables.values() if table.rows)
    rate = moved.rows / max(moved.seconds, 0.001)
    print(
        f"moved and checked {moved.rows} rows of {tables} tables, the feed up to {moved.number}, "
        f"in {moved.seconds:.1f} s ({rate:.0f} rows/s)"
    )


@command.command("schema", short_help="Take the schema up, or back to a revision.")
@click.option("--to", metavar="REVISION", default="", help="The newest if left out.")
@click.pass_context
def schema(ctx: click.Context, to: str) -> None:
    """Take the schema of the database that [data] names up or back.

    Up is what every start does by itself. Back is for an older csnode: what only the later schema
    can hold is lost. Stop every data process first.
    """
    log.start("error", "text")
    chosen: Chosen = ctx.obj
    config, role = chosen.config(), plugins.load("roles", "data")
    given = config.section("data", role.config_type())
    has = asyncio.run(role.change_schema(given, config.node.state, to))
    print(f"the schema is {has}")


def _end(given: Any, said: str) -> Any:
    """Return [data] with the place that was said, sqlite:PATH or postgresql://..., or its own."""
    kind, _, rest = said.partition(":")
    if kind == SQLITE:
        return msgspec.structs.replace(given, url="", path=rest or given.path)
    if kind not in (POSTGRESQL, "postgres"):
        raise Invalid(f"{said}: expected sqlite[:PATH] or postgresql[:URL]")
    url = said if rest.startswith("//") else rest or given.url
    if not url:
        raise Invalid("which PostgreSQL? --from or --to postgresql://USER@HOST/DATABASE")
    return msgspec.structs.replace(given, url=url)


def _progress(table: str, rows: int) -> None:
    if sys.stderr.isatty():
        print(f"\r{table}: {rows:<40}", end="", file=sys.stderr)
    elif rows % 20_000 == 0:
        print(f"{table}: {rows}", file=sys.stderr)
