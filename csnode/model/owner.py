"""Whose a row is. Each kind says it once, in its class; who may see the row follows from that.

csnode.api.reach decides with what stands here. Only root admins see a row that has no owner.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from enum import Enum, auto
from typing import Any

import msgspec

from csnode.types import Struct

Find = Callable[[str, str], Any]
"""Return the row of that kind and id, or None."""


class Audience(Enum):
    """Who may see a row, besides root admins."""

    OPERATORS = auto()  # nobody else
    ACCOUNT = auto()  # the account, and the admins of its domain and of those above
    DOMAIN = auto()  # the accounts in the domain, and the admins of it and of those above
    SUBTREE = auto()  # the same, and the accounts in the domains below
    EVERYONE = auto()


class Owner(msgspec.Struct, frozen=True):
    """Whose one row is. Account and domain are ids; empty if the row has none."""

    audience: Audience
    account: str = ""
    domain: str = ""


NOBODY = Owner(Audience.OPERATORS)
ALL = Owner(Audience.EVERYONE)


class Ownership(Struct):
    """Base of what a kind declares: how the owner of one of its rows is found."""

    def of(self, row: Any, find: Find) -> Owner:
        """Return the owner of a row of the kind."""
        raise NotImplementedError

    def names(self) -> dict[str, str]:
        """Return the columns that the owner is read from, and the kind of row each names.

        An empty kind stands for any.
        """
        return {}

    def flags(self) -> tuple[str, ...]:
        """Return the other columns that decide."""
        return ()

    def bound(self, names: Mapping[str, str]) -> Ownership:
        """Return the same, once the kinds are known that the columns of `names` name."""
        del names
        return self


class Everyone(Ownership):
    """Rows that every caller may see."""

    def of(self, row: Any, find: Find) -> Owner:
        del row, find
        return ALL


class Operators(Ownership):
    """Rows that only root admins may see."""

    def of(self, row: Any, find: Find) -> Owner:
        del row, find
        return NOBODY


class ByAccount(Ownership):
    """Rows of the account that a column names; without an account, of the operators."""

    account: str = "account"
    domain: str | None = "domain"  # the column with the account's domain; None: the account knows
    open_if: tuple[str, ...] = ()  # columns; if one is true, every caller may see the row

    def of(self, row: Any, find: Find) -> Owner:
        account: str | None = getattr(row, self.account)
        if not account:
            return NOBODY
        if self.domain is not None:
            domain: str = getattr(row, self.domain) or ""
        else:
            held = find("account", account)
            domain = held.domain if held is not None else ""
        for column in self.open_if:
            if getattr(row, column):
                return Owner(Audience.EVERYONE, account, domain)
        return Owner(Audience.ACCOUNT, account, domain)

    def names(self) -> dict[str, str]:
        held = {self.account: "account"}
        return held if self.domain is None else held | {self.domain: "domain"}

    def flags(self) -> tuple[str, ...]:
        return self.open_if


class ByDomain(Ownership):
    """Rows of the domain that a column names; without a domain, of the operators."""

    domain: str = "domain"

    def of(self, row: Any, find: Find) -> Owner:
        del find
        domain: str | None = getattr(row, self.domain)
        return Owner(Audience.DOMAIN, "", domain) if domain else NOBODY

    def names(self) -> dict[str, str]:
        return {self.domain: "domain"}


class OfferedTo(Ownership):
    """Rows for a domain and those below it, as a column says; without a domain, for everyone."""

    domain: str = "domain"

    def of(self, row: Any, find: Find) -> Owner:
        del find
        domain: str | None = getattr(row, self.domain)
        return Owner(Audience.SUBTREE, "", domain) if domain else ALL

    def names(self) -> dict[str, str]:
        return {self.domain: "domain"}


class Through(Ownership):
    """Rows that have the owner of another row, which a column names."""

    column: str
    to: str = ""  # the kind of the other row; the class that declares it fills it in

    def of(self, row: Any, find: Find) -> Owner:
        id: str | None = getattr(row, self.column)
        other = find(self.to, id) if id else None
        if other is None:
            return NOBODY
        whose: Ownership = other.owned_by
        return whose.of(other, find)

    def names(self) -> dict[str, str]:
        return {self.column: self.to}

    def bound(self, names: Mapping[str, str]) -> Ownership:
        return Through(column=self.column, to=names[self.column])
