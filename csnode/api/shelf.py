"""A shelf: the answers of one kind, kept encoded and in order, so that a page is a join of bytes.

What a row shows may depend on other rows (its network's name, the job at work on it). What an
answer was made from is recorded as it is made; a change of any of that drops the kept answer, and
the next list makes it anew. Whom a row belongs to and whether users are shown it is derived from
rows in the same way. Kept lists of ids, one for each scope, make a page cost the same however many
rows there are.
"""

from __future__ import annotations

from bisect import bisect_left, insort
from collections.abc import Iterable
from typing import Any

import msgspec

from csnode.api.about import Rank
from csnode.api.dependencies import Dependencies
from csnode.api.reach import ALL, Scope, chain
from csnode.api.view import Shown, for_rank
from csnode.data.view import View
from csnode.model.entity import Entity

Place = tuple[float, str]  # when it was created, and its id: the order of lists


class Shelf:
    """The answers of one kind. It follows the view by itself."""

    def __init__(self, shown: type[Shown], view: View) -> None:
        self.shown, self.view = shown, view
        self._kept: dict[Rank, dict[str, bytes]] = {rank: {} for rank in Rank}
        self._answers = Dependencies(view, self._drop)
        self._lists: dict[Scope, list[Place]] = {}
        self._listed = False  # whether the lists are what the rows say
        self._owners = Dependencies(view, self._unlist)
        self._above: dict[str, list[str]] = {}  # by domain: it and those above it
        self._chains = Dependencies(view, self._unlist)
        self._hidden: set[str] = set()
        self._hiding = Dependencies(view, self._look_at)
        view.listen(shown.of, self._moved)
        for row in view.all(shown.of):
            self._look(row)
        self._list()

    def encoded(self, id: str, rank: Rank) -> bytes:
        """Return the answer as that rank is shown it, as JSON. Raises NotFound."""
        kept = self._kept[rank]
        found = kept.get(id)
        if found is None:
            row = self.view.get(self.shown.of, id)
            made = self._answers.made(id, lambda view: self.shown.made(row, view))
            found = kept[id] = for_rank(made, rank)
        return found

    def size(self, scope: Scope) -> int:
        """Count the rows in a scope, those hidden from users included."""
        return len(self._list().get(scope, ()))

    def page(self, scope: Scope, start: int, size: int) -> list[str]:
        """Return some ids, in order."""
        places = self._list().get(scope, [])
        if not self.shown.newest_first:
            return [id for _, id in places[start : start + size]]
        end = len(places) - start
        return [id for _, id in reversed(places[max(0, end - size) : max(0, end)])]

    def every(self, scope: Scope) -> list[str]:
        """Return all ids of a scope, in order."""
        return self.page(scope, 0, self.size(scope))

    def hides(self) -> bool:
        """Tell whether any row is hidden from plain users."""
        return bool(self._hidden)

    def hidden(self, id: str) -> bool:
        """Tell whether plain users are not shown the row."""
        return id in self._hidden

    # -- following the view ------------------------------------------------------------------

    def _moved(self, old: Any, new: Any) -> None:
        id = (new or old).id
        self._answers.forget(id)
        self._drop(id)
        if new is None:
            self._hidden.discard(id)
            self._hiding.forget(id)
            self._owners.forget(id)
        else:
            self._look(new)
        if self._listed:
            self._relist(old, new)

    def _relist(self, old: Entity | None, new: Entity | None) -> None:
        was = old and self.shown.owner(old, self.view)
        now = new and self._owner(new)
        if was == now:
            return
        if old and was:
            self._delist(old, *was)
        if new and now:
            self._enlist(new, *now)

    def _owner(self, row: Entity) -> tuple[str, str]:
        return self._owners.made(row.id, lambda view: self.shown.owner(row, view))

    def _scopes(self, account: str, domain: str) -> Iterable[Scope]:
        yield ALL
        if account:
            yield Scope(what="account", id=account)
        if domain:
            yield Scope(what="in", id=domain)
            above = self._above.get(domain)
            if above is None:
                above = self._chains.made(f"above {domain}", lambda view: chain(view, domain))
                self._above[domain] = above
            for each in above:
                yield Scope(what="under", id=each)

    def _enlist(self, row: Entity, account: str, domain: str) -> None:
        place = _place(row)
        for scope in self._scopes(account, domain):
            insort(self._lists.setdefault(scope, []), place)

    def _delist(self, row: Entity, account: str, domain: str) -> None:
        place = _place(row)
        for scope in self._scopes(account, domain):
            places = self._lists.get(scope, [])
            at = bisect_left(places, place)
            if at < len(places) and places[at] == place:
                del places[at]
            if not places:  # an account or a domain may be gone for good
                self._lists.pop(scope, None)

    def _list(self) -> dict[Scope, list[Place]]:
        """Return the lists, as the rows have it now."""
        if not self._listed:
            self._lists.clear()
            self._listed = True
            for row in self.view.all(self.shown.of):
                self._enlist(row, *self._owner(row))
        return self._lists

    def _unlist(self, _: str) -> None:
        """Have all lists made anew when one is read: an owner or a domain's place is another."""
        self._listed = False
        self._above.clear()

    def _drop(self, id: str) -> None:
        for kept in self._kept.values():
            kept.pop(id, None)

    def _look(self, row: Entity) -> None:
        if self._hiding.made(row.id, lambda view: self.shown.hidden(row, view)):
            self._hidden.add(row.id)
        else:
            self._hidden.discard(row.id)

    def _look_at(self, id: str) -> None:
        row = self.view.maybe(self.shown.of, id)
        if row is not None:
            self._look(row)


def _place(row: Entity) -> Place:
    return getattr(row, "created", 0.0), row.id


class Shelves:
    """A shelf for each kind of answer, made when it is first asked for."""

    def __init__(self, view: View) -> None:
        self.view = view
        self._shelves: dict[type[Shown], Shelf] = {}

    def of(self, shown: type[Shown]) -> Shelf:
        """Return the shelf of that kind of answer; two kinds never share one."""
        shelf = self._shelves.get(shown)
        if shelf is None:
            shelf = self._shelves[shown] = Shelf(shown, self.view)
        return shelf


class Listing(msgspec.Struct, frozen=True):
    """One page: rows as JSON, and how many there are over all pages."""

    count: int
    rows: list[bytes]
