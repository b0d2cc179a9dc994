"""Pages of rows as one text, so that reading one is one step (see sqlite.py).

Columns and rows are parted by control characters: JSON has none of them, and neither has an id.
"""

from __future__ import annotations

from typing import Any

from sqlalchemy import Text, bindparam, func, literal_column, select
from sqlalchemy.ext.compiler import compiles
from sqlalchemy.sql.expression import ColumnClause

COLUMN, ROW = b"\x1f", b"\x1e"


class _Character(ColumnClause[str]):
    """A character by its number."""

    inherit_cache = True
    type = Text()


@compiles(_Character)
def _char(element: _Character, compiler: Any, **_: Any) -> str:
    name = "chr" if compiler.dialect.name == "postgresql" else "char"
    return f"{name}({element.name})"


def gathered(query: Any) -> Any:
    """Gather the first rows of an ordered query as one text; how many is the parameter `limit`."""
    page = query.limit(bindparam("limit")).offset(literal_column("0"))
    rows = page.subquery()
    first, *others = rows.c
    text: Any = first
    between = _Character("31")
    end: Any = _Character("30")
    for column in others:
        text = text.op("||")(between).op("||")(column)
    return select(func.aggregate_strings(text, end))
