"""What a reader makes of entries of the stream: events whose `before` shows what is lacking."""

from __future__ import annotations

from collections.abc import Sequence

from csnode.bus.event import Changed, Event
from csnode.bus.streams import Streams
from csnode.servers.redis import Entry


def entry(number: int, kind: str, row: bytes | None = b"{}") -> Entry:
    fields = {"kind": kind.encode(), "id": b"x", "revision": b"1"}
    return Entry(id=f"{number}-0", fields=fields if row is None else fields | {"row": row})


def reader(last: int) -> Streams:
    """One that began after that number. It asks no server here."""
    streams = Streams(None, 1000)  # type: ignore[reportArgumentType]
    streams._last = streams._base = last
    return streams


def told(events: Sequence[Event]) -> list[tuple[str, int, list[int]]]:
    return [
        (e.kind, e.before, [one.number for one in e.entries])
        for e in events
        if isinstance(e, Changed)
    ]


async def test_what_was_before_the_reader_is_not_known_to_have_been_told() -> None:
    streams = reader(10)
    events = streams._changed([entry(11, "a"), entry(12, "b"), entry(13, "a")])
    assert told(events) == [("a", 10, [11, 13]), ("b", 10, [12])]
    assert told(streams._changed([entry(14, "a"), entry(15, "b")])) == [
        ("a", 13, [14]),
        ("b", 12, [15]),
    ]


async def test_after_a_gap_any_kind_may_have_been_missed() -> None:
    streams = reader(0)
    events = streams._changed([entry(1, "a"), entry(2, "b"), entry(30, "a"), entry(31, "b")])
    assert told(events) == [("a", 0, [1]), ("b", 0, [2]), ("a", 29, [30]), ("b", 29, [31])]
    assert told(streams._changed([entry(32, "c")])) == [("c", 29, [32])]


async def test_a_row_that_is_not_told_is_missed_and_so_is_what_follows_it() -> None:
    streams = reader(0)
    events = streams._changed([entry(1, "a"), entry(2, "a", None), entry(3, "a")])
    assert told(events) == [("a", 0, [1]), ("a", 2, [2]), ("a", 2, [3])]


async def test_a_deleted_row_is_told_as_deleted() -> None:
    events = reader(0)._changed([entry(1, "a", b"")])
    assert told(events) == [("a", 0, [1])]
