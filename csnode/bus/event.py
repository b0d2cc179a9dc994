"""Events: hints that something changed. They carry numbers and rows, never decisions.

An event may come late, twice or not at all; whoever needs it looks again by itself.
"""

from __future__ import annotations

from csnode.types import Message


class Event(Message):
    """Base of everything published."""

    @property
    def topic(self) -> str:
        """What a subscriber may narrow its subscription to; "" is everything."""
        return ""


class Entry(Message):
    """One row as one commit left it. `row` is its JSON, empty when the row was deleted."""

    number: int
    id: str
    revision: int
    row: bytes


class Changed(Event):
    """Rows of one kind changed, in the order of their numbers.

    `before` is the number of the kind's last entry before these: a reader whose own last number
    is lower has missed some, and asks the feed. What was written at once is told of in one event
    a kind: `batch` is the last number of it all, and `along` the kinds, this one included.
    """

    kind: str
    before: int
    entries: tuple[Entry, ...]
    batch: int = 0
    along: tuple[str, ...] = ()  # empty: a data service of the first version does not say

    @property
    def topic(self) -> str:
        return self.kind


class Heads(Event):
    """The last number of each kind, published now and then: it shows a reader a lost tail."""

    numbers: dict[str, int]
