"""What keeps the rows: SQLite (sqlite.py) or PostgreSQL (postgres.py), behind one interface."""

from __future__ import annotations

from collections.abc import Generator, Iterable, Sequence
from typing import Any, Protocol, TypeVar

from sqlalchemy import Dialect

T = TypeVar("T")
Work = Iterable[tuple[str, Sequence[tuple[Any, ...]]]]
"""Statements and the rows of values that each is run with."""
Asking = Generator[tuple[str, Sequence[Any]], bytes, T]
"""Yields a query and its values, is sent the text that it answers, and so on to its result."""


class Engine(Protocol):
    """A database, for reading. Every method raises Fault, never the library's own errors."""

    path: str  # as people know it; without a password
    trouble: str  # why it cannot be used, if it cannot

    @property
    def dialect(self) -> Dialect:
        """What its statements are compiled for."""
        ...

    async def text(self, sql: str, values: Sequence[Any]) -> bytes:
        """Return the one text that a query answers; empty if it is NULL or there is no row.

        It sees whatever was acknowledged before it was asked, by any process.
        """
        ...

    async def reading(self, asking: Asking[T]) -> T:
        """Answer several such queries over one state of the database, whoever commits meanwhile."""
        ...

    async def standbys(self) -> str:
        """Return what an operator should mend about its standbys; "" if nothing."""
        ...
