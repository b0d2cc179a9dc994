"""List commands: paging, keyword, filters and scope, the same for every kind.

A list command is its parameters and what they filter: `By("zone")` on a parameter keeps the rows
whose column has the value; `tests` gives further conditions. A page without conditions never
walks the rows.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import cache
from typing import Annotated, Any, ClassVar, NewType

from csnode.api.about import About, Free, Rank, Unscoped, fields_of
from csnode.api.call import Call
from csnode.api.command import ApiCommand
from csnode.api.parse import BY_SERVER, NO_ID, no_such
from csnode.api.reach import ALL, Scope, may_see, scope
from csnode.api.refers import REFERS
from csnode.api.shelf import Listing, Shelf
from csnode.api.view import Shown
from csnode.faults import Invalid
from csnode.model.owner import Everyone
from csnode.types import DomainId

Test = Callable[[Any], bool]
ProjectId = NewType("ProjectId", str)
REFERS[ProjectId] = Free("there are no projects: no id but -1 is taken")
_SEARCHED = ("name", "display_name", "display_text")


class ListCommand(ApiCommand):
    """Base of every list. A subclass with `id` (and `ids`) finds single rows by it."""

    shown: ClassVar[type[Shown]]

    keyword: Annotated[str | None, About("list by keyword: part of a name")] = None
    page: Annotated[int | None, About("the page, from 1; goes with pagesize")] = None
    page_size: Annotated[int | None, About("how many entries a page has")] = None

    def scope(self, call: Call) -> Scope:
        """Return which rows the list is about; narrowed by who asks."""
        del call
        return ALL

    def tests(self, call: Call) -> list[Test]:
        """Return the conditions beyond those of By."""
        del call
        return []

    def matches(self, row: Any, keyword: str) -> bool:
        """Tell whether the keyword, in lower case, is part of the row's searched fields."""
        return any(keyword in str(getattr(row, name, "")).lower() for name in _SEARCHED)

    def rows(self, call: Call, shelf: Shelf, ids: list[str]) -> list[bytes]:
        """Return the page itself; most lists show what the shelf keeps."""
        rank = call.caller.rank
        return [shelf.encoded(id, rank) for id in ids]

    async def run(self, call: Call) -> Listing:
        start, size = self._window(call.options.page_size_max)
        shelf = call.shelves.of(self.shown)
        tests = self._tests(call)
        named = self._named()
        if named is None and not tests:
            here = self.scope(call)
            count, ids = shelf.size(here), shelf.page(here, start, size)
        else:
            ids = named if named is not None else shelf.every(self.scope(call))
            if tests:
                get, kind = call.view.get, self.shown.of
                ids = [id for id in ids if _passes(get(kind, id), tests)]
            count, ids = len(ids), ids[start : start + size]
        return Listing(count=count, rows=self.rows(call, shelf, ids))

    def _tests(self, call: Call) -> list[Test]:
        tests = [
            _equals(column, value)
            for attribute, column in _columns(type(self))
            if (value := getattr(self, attribute)) is not None
        ]
        tests += self.tests(call)
        caller, view = call.caller, call.view
        if caller.rank is not Rank.ROOT_ADMIN and self._is_unbounded(call):
            tests.append(lambda row: may_see(caller, row, view))
        if self.keyword:
            word = self.keyword.lower()
            tests.append(lambda row: self.matches(row, word))
        shelf = call.shelves.of(self.shown)
        if call.caller.rank is Rank.USER and shelf.hides():
            tests.append(lambda row: not shelf.hidden(row.id))
        return tests

    def _is_unbounded(self, call: Call) -> bool:
        """Tell whether the list is about all rows, of a kind that not all callers may see."""
        return not isinstance(self.shown.of.owned_by, Everyone) and self.scope(call) == ALL

    def _named(self) -> list[str] | None:
        """Return the ids asked for by id or ids, checked already; None if neither was given."""
        id: str | None = getattr(self, "id", None)
        ids: tuple[str, ...] | None = getattr(self, "ids", None)
        if id and ids:
            raise Invalid("Specify either id or ids but not both parameters")
        if id:
            return [id]
        return list(dict.fromkeys(ids)) if ids else None

    def _window(self, most: int) -> tuple[int, int]:
        """Return where the page starts, and how many rows it has."""
        page, size = self.page, self.page_size
        if size == -1:
            if page is not None:
                raise _paging("Can't specify page parameter when pagesize is -1 (Unlimited)")
            return 0, 2**62
        if size is not None and page is None:
            raise _paging('"page" parameter is required when "pagesize" is specified')
        if page is not None and size is None:
            raise _paging('"pagesize" parameter is required when "page" is specified')
        if size is None:
            return 0, most
        if size > most:
            raise _paging(f"Page size can't exceed max allowed page size value: {most}")
        if size < 1:
            raise _paging(f"Page size must be at least 1, not {size}")
        return (max(page or 1, 1) - 1) * size, size


class OwnedList(ListCommand):
    """A list of what accounts own: domainid, isrecursive and listall."""

    domain_id: Annotated[
        DomainId | None,
        About("list what belongs to this domain"),
        Unscoped("a domain that the caller does not rule is refused (531), or nothing of it shown"),
    ] = None
    is_recursive: Annotated[bool, About("with domainid: the domains below it too")] = False
    list_all: Annotated[bool, About("everything that the caller may see, not just his own")] = False

    def scope(self, call: Call) -> Scope:
        return scope(
            call.caller,
            call.view,
            account=getattr(self, "account", None),
            domain=self.domain_id,
            recursive=self.is_recursive,
            all=self.list_all,
        )


class AccountList(OwnedList):
    """An owned list that can be narrowed to one account."""

    account: Annotated[str | None, About("list what this account owns; goes with domainid")] = None


class ProjectList(AccountList):
    """An account's list that takes projectid too. There are no projects: -1 means all of none."""

    project_id: Annotated[ProjectId | None, About("list what belongs to this project")] = None

    def scope(self, call: Call) -> Scope:
        if self.project_id is None:
            return super().scope(call)
        if self.project_id != NO_ID:
            raise no_such(call.asked.command, "projectid", self.project_id)
        if self.account:
            raise Invalid("Account and projectId can't be specified together")
        whole = self.list_all and call.caller.rank is Rank.ROOT_ADMIN
        return super().scope(call) if whole else Scope(what="project", id=NO_ID)


@cache
def _columns(kind: type[ListCommand]) -> tuple[tuple[str, str], ...]:
    return tuple((f.attribute, f.column) for f in fields_of(kind) if f.column)


def _equals(column: str, value: Any) -> Test:
    return lambda row: getattr(row, column) == value


def _passes(row: Any, tests: list[Test]) -> bool:
    return all(test(row) for test in tests)


def _paging(text: str) -> Invalid:
    return Invalid(text, cs=BY_SERVER)
