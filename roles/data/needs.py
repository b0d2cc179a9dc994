"""What a batch of commits will read, told from the commits alone, so that it is one round trip."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any, NamedTuple

import msgspec

from csnode.contracts.data import ChangeItem, Commit, Count, Create, Give, Hold, Take, Update
from csnode.model.entity import named
from csnode.model.ids import taken_value
from roles.data.kind import Kind, Pin, Pins, fields_of

AHEAD = 8  # values of a range beyond those that the batch takes
REFERRERS = 16  # more than a machine has parts, which go with it


class NeedRow(NamedTuple):
    """A row."""

    kind: Kind
    id: str


class NeedHaving(NamedTuple):
    """Who has a unique value."""

    kind: Kind
    column: str
    value: Any


class NeedReferrers(NamedTuple):
    """Who refers to a row; so many of them at most."""

    pin: Pin
    id: str
    limit: int


class NeedHoldings(NamedTuple):
    """What an owner took."""

    owner: str


class NeedRange(NamedTuple):
    """Which values of a range are taken."""

    range: str


class NeedToken(NamedTuple):
    """What was answered to a token."""

    token: str


Need = NeedRow | NeedHaving | NeedReferrers | NeedHoldings | NeedRange | NeedToken


def needs(
    commits: Sequence[Commit],
    kinds: Mapping[str, Kind],
    pins: Pins,
    lowest: Callable[[str], int | None],
) -> Iterator[Need]:
    """Return what a commit needs.

    It is not all, maybe: the rest turns up when the changes are worked out. `lowest` says from
    where on a range is to be searched, if that is known.
    """
    takes: Counter[str] = Counter()
    for commit in commits:
        if commit.token:
            yield NeedToken(commit.token)
        for item in commit.changes:
            yield from _of(item, kinds, pins)
            if isinstance(item, Take):
                takes[item.range] += 1
    for name, count in takes.items():
        low = lowest(name)
        if low is None:
            yield NeedRange(name)
        else:
            yield from values(kinds, name, low, count + AHEAD)


def values(kinds: Mapping[str, Kind], range_: str, low: int, count: int) -> Iterator[Need]:
    """Yield the rows that tell whether so many values of a range are taken."""
    for value in range(low, low + count):
        yield NeedRow(kinds["taken"], taken_value(range_, value))


def _of(item: ChangeItem, kinds: Mapping[str, Kind], pins: Pins) -> Iterator[Need]:
    match item:
        case Count():
            yield NeedRow(kinds["tally"], item.owner)
        case Hold():
            yield NeedRow(kinds["lease"], item.name)
        case Give():
            yield NeedHoldings(item.owner)
        case Take():
            yield NeedRow(kinds["range"], item.range)
            yield NeedHoldings(item.owner)
            if item.column and item.kind in kinds:
                yield NeedRow(kinds[item.kind], item.id)
        case _ if kind := kinds.get(item.kind):
            alone = isinstance(item, Create) and item.alone
            for each in kinds.values() if alone else (kind,):
                yield NeedRow(each, item.id)
            if isinstance(item, Create | Update):
                text = item.row if isinstance(item, Create) else item.columns
                yield from _in_columns(kind, text, kinds)
            else:
                keyed = (pin for pin in pins[kind.name] if pin.column in pin.kind.keys)
                yield from (NeedReferrers(pin, item.id, REFERRERS) for pin in keyed)
        case _:
            pass


def _in_columns(kind: Kind, text: bytes, kinds: Mapping[str, Kind]) -> Iterator[Need]:
    """Yield who has its unique values, and the rows that it names."""
    if not (kind.unique or kind.refs):
        return
    try:
        fields = fields_of(text, "")
        for column in fields.keys() & {*kind.unique, *kind.refs}:
            value: Any = msgspec.json.decode(fields[column])
            if column in kind.unique and isinstance(value, str):
                yield NeedHaving(kind, column, value)
            if (ref := kind.refs.get(column)) is not None:
                yield from (NeedRow(kinds[ref.to], str(id)) for id in named(value))
    except Exception:  # noqa: BLE001 (it is refused when it is worked out)
        return
