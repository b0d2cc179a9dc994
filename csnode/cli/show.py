"""How commands print what they found: a table for people, JSON for programs."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Sequence
from typing import Any, TypeVar

import click
from rich.console import Console
from rich.table import Table

F = TypeVar("F", bound=Callable[..., Any])


def output_option(*more: str) -> Callable[[F], F]:
    """Make the option --output: table or json, or one more."""
    return click.option(
        "--output",
        type=click.Choice(["table", "json", *more]),
        default="table",
        show_default=True,
        help="What to print.",
    )


def table(title: str, columns: Sequence[str], rows: Iterable[Sequence[object]]) -> None:
    """Print a table on standard output; cells are plain text."""
    shown = Table(box=None, pad_edge=False)
    for column in columns:
        shown.add_column(column.upper(), overflow="fold")
    for row in rows:
        shown.add_row(*(_cell(cell) for cell in row))
    console = Console(highlight=False, markup=False)
    if not console.is_terminal:
        console.width = 200
    if title:
        console.print(title, style="bold", soft_wrap=True)
    console.print(shown)


def as_json(value: Any) -> None:
    """Print JSON, indented, on standard output."""
    print(json.dumps(value, indent=2, default=str))


def _cell(value: object) -> str:
    if isinstance(value, list | tuple):
        return ", ".join(map(str, value))  # pyright: ignore[reportUnknownArgumentType, reportUnknownVariableType]
    return str(value)
