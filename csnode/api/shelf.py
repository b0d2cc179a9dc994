"""A shelf: the answers of one kind, kept encoded and in order, so that a page is a join of bytes.

What a row shows may depend on rows of other kinds (its network's name, the job at work on it); a
change of any of them drops the kept answer, and the next list makes it anew. Kept lists of ids,
one for each scope that was asked for, make a page cost the same however many rows there are.
"""

from __future__ import annotations

from bisect import bisect_left, insort
from collections.abc import Callable, Iterable
from functools import partial
from typing import Any

import msgspec

from csnode.api.about import Rank
from csnode.api.reach import ALL, Scope, chain
from csnode.api.view import Depends, Shown, for_rank
from csnode.data.view import View
from csnode.model.entity import Entity
from csnode.model.identity import Domain

Place = tuple[float, str]  # when it was created, and its id: the order of lists


class Shelf:
    """The answers of one kind. It follows the view by itself."""

    def __init__(self, shown: type[Shown], view: View) -> None:
        self.shown, self.view = shown, view
        self._kept: dict[Rank, dict[str, bytes]] = {rank: {} for rank in Rank}
        self._lists: dict[Scope, list[Place]] = {}
        self._hidden: set[str] = set()
        for row in view.all(shown.of):
            self._enlist(row)
        view.listen(shown.of, self._moved)
        view.listen(Domain, self._domain_moved)
        for depends in shown.depends:
            view.listen(depends.kind, partial(self._touched, depends))

    def encoded(self, id: str, rank: Rank) -> bytes:
        """The answer as that rank is shown it, as JSON. NotFound."""
        kept = self._kept[rank]
        found = kept.get(id)
        if found is None:
            found = for_rank(self.shown.made(self.view.get(self.shown.of, id), self.view), rank)
            kept[id] = found
        return found

    def size(self, scope: Scope) -> int:
        """How many rows there are in a scope, those hidden from users included."""
        return len(self._lists.get(scope, ()))

    def page(self, scope: Scope, start: int, size: int) -> list[str]:
        """Ids in order, some of them."""
        places = self._lists.get(scope, [])
        if not self.shown.newest_first:
            return [id for _, id in places[start : start + size]]
        end = len(places) - start
        return [id for _, id in reversed(places[max(0, end - size) : max(0, end)])]

    def every(self, scope: Scope) -> list[str]:
        """All ids of a scope, in order."""
        return self.page(scope, 0, len(self._lists.get(scope, ())))

    def hides(self) -> bool:
        """Whether any row is hidden from plain users."""
        return bool(self._hidden)

    def hidden(self, id: str) -> bool:
        """Whether plain users are not shown the row."""
        return id in self._hidden

    # -- following the view ------------------------------------------------------------------

    def _scopes(self, row: Entity) -> Iterable[Scope]:
        account, domain = self.shown.owner(row, self.view)
        yield ALL
        if account:
            yield Scope(what="account", id=account)
        if domain:
            yield Scope(what="in", id=domain)
            for above in chain(self.view, domain):
                yield Scope(what="under", id=above)

    def _enlist(self, row: Entity) -> None:
        place = (getattr(row, "created", 0.0), row.id)
        for scope in self._scopes(row):
            insort(self._lists.setdefault(scope, []), place)
        self._look(row)

    def _delist(self, row: Entity) -> None:
        place = (getattr(row, "created", 0.0), row.id)
        for scope in self._scopes(row):
            places = self._lists.get(scope, [])
            at = bisect_left(places, place)
            if at < len(places) and places[at] == place:
                del places[at]
            if not places:  # an account or a domain may be gone for good
                self._lists.pop(scope, None)
        self._hidden.discard(row.id)

    def _moved(self, old: Any, new: Any) -> None:
        self._drop((new or old).id)
        if old is None:
            self._enlist(new)
        elif new is None:
            self._delist(old)
        elif self.shown.owner(old, self.view) != self.shown.owner(new, self.view):
            self._delist(old)
            self._enlist(new)
        else:
            self._look(new)

    def _touched(self, depends: Depends, old: Any, new: Any) -> None:
        if old is not None and new is not None and depends.matters is not None:
            matters: Callable[[Any], Any] = depends.matters
            if matters(old) == matters(new):
                return
        for row in (old, new):
            if row is not None:
                for id in depends.finds(row, self.view):
                    self._drop(id)
                    if (held := self.view.maybe(self.shown.of, id)) is not None:
                        self._look(held)

    def _domain_moved(self, old: Any, new: Any) -> None:
        """A row may be heard of before its domain is: then its place in the tree was unknown."""
        late = old is None and Scope(what="in", id=new.id) in self._lists
        if late or new is None or (old is not None and old.parent != new.parent):
            self._lists.clear()
            for row in self.view.all(self.shown.of):
                self._enlist(row)

    def _drop(self, id: str) -> None:
        for kept in self._kept.values():
            kept.pop(id, None)

    def _look(self, row: Entity) -> None:
        if self.shown.hidden(row, self.view):
            self._hidden.add(row.id)
        else:
            self._hidden.discard(row.id)


class Shelves:
    """A shelf for each kind of answer, made when it is first asked for."""

    def __init__(self, view: View) -> None:
        self.view = view
        self._shelves: dict[type[Shown], Shelf] = {}

    def of(self, shown: type[Shown]) -> Shelf:
        """The shelf; never shared between two kinds of answer."""
        shelf = self._shelves.get(shown)
        if shelf is None:
            shelf = self._shelves[shown] = Shelf(shown, self.view)
        return shelf


class Listing(msgspec.Struct, frozen=True):
    """One page: rows as JSON, and how many there are over all pages."""

    count: int
    rows: list[bytes]
