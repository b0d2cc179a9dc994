"""A batch: the commits that share one transaction, numbered, and ready to be written."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator, Sequence
from typing import Any

import msgspec

from csnode.bus.event import Changed, Entry
from csnode.context import Context, era_of, first_after
from csnode.contracts.data import Commit, Committed
from csnode.faults import Outdated
from roles.data import references
from roles.data.change import apply
from roles.data.draft import Draft
from roles.data.kind import Kind
from roles.data.layer import Layer, Row
from roles.data.schema import HistoryStatements
from roles.data.stored import Stored

_answer = msgspec.json.Decoder(Committed)
_encode = msgspec.json.Encoder().encode


class Batch:
    """Takes commits one by one; each gets an answer or a Fault, and hurts no other."""

    def __init__(self, stored: Stored, sql: HistoryStatements, now: float) -> None:
        self.layer = Layer(stored)
        self.floor = stored.floor
        self.number = stored.last
        self.heads: dict[str, int] = {}
        self._stored, self._sql, self._now = stored, sql, now
        self._entries: dict[str, list[Entry]] = defaultdict(list)
        self._feed: list[tuple[Any, ...]] = []
        self._tokens: dict[str, Committed] = {}
        self._trims: list[tuple[str, Sequence[tuple[Any, ...]]]] = []
        self._repeated = False

    def add(self, commit: Commit, context: Context, stored_answer: bytes) -> Committed:
        """Add a commit; return its answer, true once the batch is on disk. Raises its Fault.

        `context` is its caller's; `stored_answer` is what an earlier batch answered to its token.
        """
        if stored_answer:
            self._repeated = True
            return _answer.decode(stored_answer)
        if commit.token and (known := self._tokens.get(commit.token)):
            return known
        if context.fence and era_of(context.fence) < era_of(self.number):
            raise Outdated(
                "the order is from before the database was put back",
                detail=f"fence {context.fence}, now {self.number}",
            )
        draft = Draft(self.layer, self._stored, self._now)
        for item in commit.changes:
            apply(draft, item)
        references.check(draft, self._stored.pins)
        for (kind, id), row in draft.rows.items():
            if row.text or self.layer.find(kind, id).text:  # not: made and removed again
                self._enter(kind, id, row, context.trace, commit.by or context.caller)
        self.layer.absorb(draft)
        answer = Committed(number=self.number, got=tuple(draft.got))
        if commit.token:
            self._tokens[commit.token] = answer
        return answer

    def _enter(self, kind: Kind, id: str, row: Row, trace: str, by: str) -> None:
        self.number = number = self.number + 1
        name = kind.name
        self.heads[name] = number
        revision, text = row.revision, row.text
        self._entries[name].append(Entry(number=number, id=id, revision=revision, row=text))
        self._feed.append((number, name, id, revision, self._now, trace, by, text.decode()))

    def trim(self, upto: int, tokens_before: float, limit: int) -> None:
        """Forget the feed up to that number, and some tokens older than that."""
        self._trims.append((self._sql.trim_tokens, [(tokens_before, limit)]))
        if upto > self.floor:
            self._trims.append((self._sql.trim_feed, [(upto,)]))
            self.floor = upto

    def begin_era(self, beyond: int) -> None:
        """Go on above that number and all that were given after it: they were of a later state.

        Nothing of the feed stays, so every reader starts anew, wherever it was.
        """
        done = era_of(beyond) < era_of(self.number)  # another process was faster
        if done or (beyond <= self.number and not self._stored.was_lost(beyond)):
            return
        self.number = self.floor = first_after(max(beyond, self.number))
        self._trims.append((self._sql.trim_feed, [(self.number,)]))
        self.heads |= dict.fromkeys((*self._stored.heads, *self.heads), self.number)

    @property
    def empty(self) -> bool:
        """Whether there is nothing to write, and nothing to confirm.

        An answer given again is true only once a standby has it; the commit that gave it may have
        been cut off while it waited for that, so this batch commits and waits in its place.
        """
        return not (self._feed or self._tokens or self._trims or self._repeated)

    def work(self) -> Iterator[tuple[str, Sequence[tuple[Any, ...]]]]:
        """Return statements and their rows. Deletions come first: they free unique values."""
        deleted: dict[str, list[tuple[Any, ...]]] = defaultdict(list)
        written: dict[str, list[tuple[Any, ...]]] = defaultdict(list)
        for (kind, id), row in self.layer.rows.items():
            sql, text = kind.sql, row.text.decode()
            again = bool(kind.unique)  # values may have changed hands in any order
            if row.stored and (again or not text):
                deleted[sql.delete].append((id,))
            if not text:
                continue
            if again or not row.stored:
                written[sql.insert].append((id, row.revision, text, *(row.keys or ())))
            elif row.keys is None:
                written[sql.update].append((row.revision, text, id))
            else:
                written[sql.update_keys].append((row.revision, text, *row.keys, id))
        yield from deleted.items()
        yield from written.items()
        yield self._sql.feed, self._feed
        yield self._sql.head, list(self.heads.items())
        answers = [(t, _encode(a).decode(), self._now) for t, a in self._tokens.items()]
        yield self._sql.token, answers
        yield from self._trims

    def done(self) -> list[Changed]:
        """Remember a batch that is on disk, and return what there is to tell."""
        stored = self._stored
        stored.absorb(self.layer)
        along = tuple(self._entries)
        news = [
            Changed(
                kind=kind,
                before=stored.heads.get(kind, 0),
                entries=tuple(entries),
                batch=self.number,
                along=along,
            )
            for kind, entries in self._entries.items()
        ]
        stored.heads.update(self.heads)
        stored.last, stored.floor = self.number, self.floor
        return news
