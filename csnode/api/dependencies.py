"""What each of some things was made from, and which of them a change of a row makes stale.

Nobody declares it: while a thing is made, its reads are recorded. It is stale as soon as a row
that it read changes in a column that is read, appears or goes, or as soon as a row comes among
those that it found by a value, or leaves them. Making is one synchronous call, and so are the
view's calls of its listeners: no row can change between a read and its note.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any, TypeVar

from csnode.api.recorder import KindReads, Recorder
from csnode.data.view import View
from csnode.faults import Broken
from csnode.model.entity import Entity

T = TypeVar("T")


class Dependencies:
    """Of things with names: the answers of a shelf, by id. It follows the view by itself.

    Most answers find rows by their own id (the nics whose `vm` they are). Such a read is kept once
    for all of them (`Readers.own`); any other takes some 60 bytes of each answer.
    """

    def __init__(self, view: View, stale: Callable[[str], None]) -> None:
        """Keep dependencies.

        `stale` is told the name of a thing whose reads changed; perhaps of one never made.
        """
        self._view, self._stale = view, stale
        self._kinds: dict[type[Entity], KindReads] = {}
        self._joined: dict[str, tuple[Any, ...]] = {}  # by name: readers, value, readers, value ...

    def made(self, name: str, make: Callable[[View], T]) -> T:
        """Make the thing of that name, and note what it reads instead of what it read before."""
        recorder = Recorder(self._view, self._of)
        thing = make(recorder.as_view())
        self.forget(name)
        joined: list[Any] = []
        for readers, value in recorder.notes:
            if readers.join(value, name):
                joined += (readers, value)
        if joined:
            self._joined[name] = tuple(joined)
        return thing

    def forget(self, name: str) -> None:
        """Forget what the thing read: it is kept no more."""
        joined = self._joined.pop(name, ())
        for at in range(0, len(joined), 2):
            joined[at].leave(joined[at + 1], name)

    def __len__(self) -> int:
        """Count the reads that are kept."""
        return sum(len(joined) // 2 for joined in self._joined.values())

    def _of(self, kind: type[Entity]) -> KindReads:
        reads = self._kinds.get(kind)
        if reads is None:
            if kind.kind not in self._view:
                raise Broken(
                    f"an answer reads rows of the kind {kind.kind!r}, which the api's view does not"
                    " hold: name it in `reads` of the answer's class"
                )
            reads = self._kinds[kind] = KindReads(kind)
            self._view.listen(kind, partial(self._moved, reads))
        return reads

    def _moved(self, reads: KindReads, old: Entity | None, new: Entity | None) -> None:
        touched = old is None or new is None or reads.matters(old, new)
        stale: set[str] = set()
        for readers in reads.found_by.values():
            values = [readers.value(row) for row in (old, new) if row is not None]
            if touched or values[0] != values[1]:
                for value in values:
                    stale |= readers.having(value)
        for name in stale:
            self.forget(name)
            self._stale(name)
