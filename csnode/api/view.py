"""What callers are shown: the shape of an answer, and how it is made from rows."""

from __future__ import annotations

from functools import cache
from typing import Any, ClassVar

import msgspec

from csnode.api.about import Rank, fields_of, wire_name
from csnode.api.reach import owner_of
from csnode.clock import stamp
from csnode.data.view import View
from csnode.model.entity import Entity
from csnode.model.identity import Account, Domain
from csnode.types import Struct


class Part(Struct, rename=wire_name, omit_defaults=True):
    """Something within an answer: a card of a machine. None is left out, () is shown as []."""


class Shown(Part):
    """Base of every answer. `key` is its name on the wire, `of` the kind of row it shows."""

    key: ClassVar[str] = ""
    of: ClassVar[type[Entity]] = Entity
    reads: ClassVar[tuple[type[Entity], ...]] = ()  # kinds the api would not hold without it
    newest_first: ClassVar[bool] = False

    @classmethod
    def made(cls, row: Any, view: View) -> Shown:
        """Make the answer that shows the row, from it and what it reads of the view: nothing else.

        A shelf keeps the answer until a row changes that it read. What follows from time, the
        configuration or the caller is added by commands, to an answer that no shelf keeps.
        """
        raise NotImplementedError

    @classmethod
    def hidden(cls, row: Any, view: View) -> bool:
        """Tell whether plain users are not shown the row."""
        del row, view
        return False

    @classmethod
    def owner(cls, row: Any, view: View) -> tuple[str, str]:
        """Return the account and domain that the row belongs to; empty if it has none."""
        found = owner_of(row, view)
        return found.account, found.domain


def date(seconds: float) -> str | None:
    """Return a date as the wire has it; None for one that never was."""
    return stamp(seconds) if seconds else None


def names(view: View, account: str | None, domain: str | None) -> dict[str, Any]:
    """Return who owns a thing, as every owned thing shows it."""
    owner, place = view.maybe(Account, account), view.maybe(Domain, domain)
    return {
        "account": owner.name if owner else None,
        "domain": place.name if place else None,
        "domain_id": domain,
        "domain_path": place.path if place else None,
    }


def encoded(shown: Part) -> bytes:
    """Encode as JSON, on one line."""
    return msgspec.json.encode(shown)


def for_rank(shown: Shown, rank: Rank) -> bytes:
    """Encode as JSON, without what only higher ranks are shown."""
    left_out = restricted(type(shown), rank)
    if not left_out:
        return encoded(shown)
    return encoded(msgspec.structs.replace(shown, **dict.fromkeys(left_out)))


@cache
def restricted(kind: type[Shown], rank: Rank) -> tuple[str, ...]:
    """Return the attributes that a caller of that rank is not shown. All of them are optional."""
    return tuple(f.attribute for f in fields_of(kind) if f.about.allows > rank)
