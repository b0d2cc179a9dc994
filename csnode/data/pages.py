"""Reading by pages, each of no more rows than one answer holds.

A machine's row may be over 1 MiB (its user data), and an answer 16 (csnode.bus.envelope): then a
page of fewer rows is asked for.
"""

from __future__ import annotations

from collections.abc import AsyncGenerator
from typing import Any

from csnode.contracts.data import Data, Feed, Row
from csnode.faults import Broken

PAGE = 500


async def rows(
    data: Data, kind: str, where: dict[str, Any], size: int = PAGE
) -> AsyncGenerator[tuple[Row, ...]]:
    """Yield all rows with those values, by rising id."""
    after = ""
    while True:
        try:
            page = await data.find(kind, where, after, size)
        except Broken:
            if size == 1:
                raise
            size //= 2
            continue
        yield page
        if len(page) < size:
            return
        after = page[-1].id


async def feed(
    data: Data, after: int, kinds: tuple[str, ...], size: int = PAGE
) -> AsyncGenerator[Feed]:
    """Yield the feed of those kinds past that number. Raises Gone if it begins later."""
    while True:
        try:
            page = await data.feed(after, kinds, size)
        except Broken:
            if size == 1:
                raise
            size //= 2
            continue
        yield page
        if len(page.entries) < size:
            return
        after = page.upto
