"""Who may see and name what: the one place where tenancy is decided.

Each kind of row declares whose its rows are (csnode.model.owner); what a caller may see follows
from that, his rank and his domain. A root admin sees everything. Nothing is seen by default.
"""

from __future__ import annotations

from functools import partial
from typing import Any, Protocol

from csnode.api.about import Rank, Unscoped
from csnode.data.view import View
from csnode.faults import Denied, Invalid
from csnode.model.entity import Entity, declared_kind
from csnode.model.identity import Account, Domain
from csnode.model.owner import Audience, Owner
from csnode.types import AccountId, DomainId, Struct


class Who(Protocol):
    """What deciding needs of a caller."""

    @property
    def account(self) -> AccountId: ...
    @property
    def domain(self) -> DomainId: ...
    @property
    def rank(self) -> Rank: ...


class Scope(Struct):
    """Which rows a list is about: all, an account's, a domain's, or a domain's and below."""

    what: str  # "all", "account", "in", "under"
    id: str = ""


ALL = Scope(what="all")
OF_OWNER = Unscoped("the domain of an account that the caller may not act for is refused (531)")
"""Marks the domainid of what `owner` is asked."""


def within(view: View, domain: str, above: str) -> bool:
    """Tell whether the domain is the one above or somewhere below it."""
    if domain == above:
        return True
    here, there = view.maybe(Domain, domain), view.maybe(Domain, above)
    return bool(here and there and here.path.startswith(there.path + "/"))


def chain(view: View, domain: str) -> list[str]:
    """Return the domain and those above it."""
    found: list[str] = []
    row = view.maybe(Domain, domain)
    while row is not None and row.id not in found:
        found.append(row.id)
        row = view.maybe(Domain, row.parent)
    return found or [domain]


def may_see(caller: Who, row: Entity, view: View) -> bool:
    """Tell whether the caller may know that the row exists."""
    if caller.rank is Rank.ROOT_ADMIN:
        return True
    owner = owner_of(row, view)
    match owner.audience:
        case Audience.ACCOUNT:
            return owner.account == caller.account or _rules(caller, owner.domain, view)
        case Audience.DOMAIN:
            return owner.domain == caller.domain or _rules(caller, owner.domain, view)
        case Audience.SUBTREE:
            below = within(view, caller.domain, owner.domain)
            return below or _rules(caller, owner.domain, view)
        case Audience.EVERYONE:
            return True
        case Audience.OPERATORS:
            return False


def owner_of(row: Entity, view: View) -> Owner:
    """Return whose the row is, as its kind declares it."""
    return type(row).owned_by.of(row, partial(_found, view))


def scope(
    caller: Who,
    view: View,
    *,
    account: str | None,
    domain: DomainId | None,
    recursive: bool,
    all: bool,
) -> Scope:
    """Return which rows a list is about.

    Raises Denied (531) beyond the caller's reach, Invalid for an unknown account.
    """
    if account:
        return Scope(what="account", id=account_named(caller, view, account, domain).id)
    if domain:
        if not _rules(caller, domain, view) and domain != caller.domain:
            raise Denied(f"Caller may not list resources of domain {domain}")
        if caller.rank is not Rank.USER:
            return Scope(what="under" if recursive else "in", id=domain)
    elif all and caller.rank is Rank.ROOT_ADMIN:
        return ALL
    elif all and caller.rank is Rank.DOMAIN_ADMIN:
        return Scope(what="under", id=caller.domain)
    return Scope(what="account", id=caller.account)


def account_named(caller: Who, view: View, name: str, domain: DomainId | None) -> Account:
    """Find an account that the caller may act for; the domain is the caller's unless given."""
    place = domain or caller.domain
    found = [a for a in view.by(Account, "name", name) if a.domain == place]
    if not found:
        raise Invalid(f"could not find account {name} in domain {place}")
    if found[0].id != caller.account and not _rules(caller, place, view):
        raise Denied(f"Caller does not have permission to operate with account {name}")
    return found[0]


def owner(caller: Who, view: View, account: str, domain: DomainId | None) -> Account:
    """Return who is to own what is created: the caller unless account (and domain) are given."""
    if account:
        return account_named(caller, view, account, domain)
    if domain and domain != caller.domain:
        raise Invalid("Account information is not specified: domainid needs account")
    return view.get(Account, caller.account)


def _rules(caller: Who, domain: Any, view: View) -> bool:
    """Tell whether the caller administers that domain."""
    if caller.rank is Rank.ROOT_ADMIN:
        return True
    return caller.rank is Rank.DOMAIN_ADMIN and within(view, domain, caller.domain)


def _found(view: View, kind: str, id: str) -> Entity | None:
    return view.maybe(declared_kind(kind), id)
