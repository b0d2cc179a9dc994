"""Ways to break what tenants are kept apart by; see sabotage.py."""

from __future__ import annotations

from collections.abc import Callable, Generator
from contextlib import AbstractContextManager, contextmanager
from typing import Any
from unittest.mock import patch

from csnode.api import reach
from csnode.api.call import Call
from csnode.api.lists import ListCommand, OwnedList
from csnode.model.owner import ALL, NOBODY, Everyone, Owner
from csnode.model.vm import Vm
from roles.api import door


@contextmanager
def what_is_nobodys_is_seen_by_all() -> Generator[None]:
    """A row without an owner is shown to everybody, as it once was."""
    owner_of = reach.owner_of

    def open_to_all(row: Any, view: Any) -> Owner:
        found = owner_of(row, view)
        return ALL if found == NOBODY else found

    with patch.object(reach, "owner_of", open_to_all):
        yield


@contextmanager
def machines_declared_as_everybodys() -> Generator[None]:
    """A kind says that its rows are for all."""
    with patch.object(Vm, "owned_by", Everyone()):
        yield


@contextmanager
def rows_looked_up_without_asking() -> Generator[None]:
    """Commands, and what looks for them, find rows whoever asks."""

    def found(self: Call, kind: Any, id: str, parameter: str = "id") -> Any:
        del parameter
        return self.view.get(kind, id)

    with patch.object(Call, "seen", found):
        yield


@contextmanager
def ids_not_looked_up() -> Generator[None]:
    """Only what a command looks up by itself is looked up."""
    with patch.object(door, "check_references", _nothing):
        yield


@contextmanager
def lists_that_show_all() -> Generator[None]:
    """A list has the rows of every account."""

    def everything(_: ListCommand, __: Call) -> reach.Scope:
        return reach.ALL

    with (
        patch.object(OwnedList, "scope", everything),
        patch.object(ListCommand, "_is_unbounded", _nothing),
    ):
        yield


def _nothing(*_: Any) -> None:
    """What the sabotaged code does now."""


ALL_OF_API: dict[str, Callable[[], AbstractContextManager[None]]] = {
    made.__name__: made
    for made in (
        what_is_nobodys_is_seen_by_all, machines_declared_as_everybodys,
        rows_looked_up_without_asking, ids_not_looked_up, lists_that_show_all,
    )
}  # fmt: skip

OWNERS, TENANT = "tests/unit/test_owners.py", "tests/api/test_another_tenant.py"
CATCHERS_OF_API: dict[str, tuple[str, ...]] = {
    "what_is_nobodys_is_seen_by_all": (OWNERS, "-k", "whom_the_table"),
    "machines_declared_as_everybodys": (OWNERS, "-k", "whom_the_table"),
    "rows_looked_up_without_asking": (TENANT, "-k", "another_tenants_id"),
    "ids_not_looked_up": (TENANT, "-k", "another_tenants_id"),
    "lists_that_show_all": (TENANT, "-k", "no_list_shows"),
}
"""The tests that catch each."""
