"""What may be asked of the data service. Roles use csnode.data (Store, Change, View) instead."""

from __future__ import annotations

from typing import Any, Protocol

from csnode.bus.event import Entry
from csnode.bus.service import Service, callers, within
from csnode.context import CONTROLLING
from csnode.types import Message


class Create(Message, tag="create"):
    """A new row; `row` is its JSON, at revision 1. Conflict if the id or a unique key is taken.

    `alone`: also if a row of any other kind has the id. Somebody chose it, and ids are to tell
    things apart without their kinds: in locks of ranges, in tallies, in the jobs of an object.
    """

    kind: str
    id: str
    row: bytes
    alone: bool = False


class Update(Message, tag="update"):
    """New values of some columns. Stale if `revision` is given and the row has moved on.

    `columns` is a JSON object. Facts are refused (Denied) unless `by` is their one writer.
    """

    kind: str
    id: str
    columns: bytes
    revision: int = 0  # 0: whatever it is now
    by: str = ""


class Delete(Message, tag="delete"):
    """The row goes; an absent one is fine. Stale as for Update."""

    kind: str
    id: str
    revision: int = 0


class Take(Message, tag="take"):
    """The lowest free value of a range, for an owner; the same owner gets the same value again.

    If `column` is named, the value is written into it: the row must exist, or be created by an
    earlier change of the same commit. Full if nothing is free. `wish` asks for one value
    (Conflict if somebody else has it).
    """

    range: str
    owner: str
    kind: str = ""
    id: str = ""
    column: str = ""
    wish: int | None = None


class Give(Message, tag="give"):
    """Every value that the owner has of the range is free again; of all ranges if it is empty."""

    owner: str
    range: str = ""


class Count(Message, tag="count"):
    """Add to an owner's tallies. Full, naming the resource, if one would pass its limit.

    Limits are of the resources they name; -1 is unlimited. A tally never falls below zero.
    """

    owner: str
    by: dict[str, int]
    limits: dict[str, int] = {}


class Hold(Message, tag="hold"):
    """Take or renew a lease for that many seconds. Conflict while somebody else holds it.

    A new holder's fence is one higher; `fence` given means renew: Conflict if it was lost.
    """

    name: str
    holder: str
    seconds: float
    fence: int = 0


ChangeItem = Create | Update | Delete | Take | Give | Count | Hold


class Commit(Message):
    """Changes that happen together or not at all; the same token twice happens once."""

    changes: tuple[ChangeItem, ...]
    token: str = ""
    by: str = ""  # in whose name, "orchestrator@node"; empty: the caller's


class Committed(Message):
    """The last number of the commit, and what each Take and Hold got, in their order."""

    number: int
    got: tuple[int, ...] = ()


class Row(Message):
    """One row: its JSON, revision included."""

    id: str
    row: bytes


class Feed(Message):
    """Entries of some kinds, by rising number. `upto`: everything up to there is in it."""

    entries: tuple[tuple[str, Entry], ...]  # (kind, entry)
    upto: int


class Past(Message):
    """One entry of the feed, with the circumstances of its commit."""

    kind: str
    entry: Entry
    at: float  # seconds since 1970, by the data service's clock
    trace: str  # of the request behind it
    by: str  # who committed: "orchestrator@node"


class Mark(Message):
    """How far the database was, and when; `proof` is what only the data service can make."""

    number: int
    at: float  # seconds since 1970, by the data service's clock
    proof: bytes


class Met(Message):
    """What the data service answers who meets it: whose database it keeps, and a mark of now."""

    cloud: str
    mark: Mark


class Data(Service, Protocol):
    """Every object in the cloud, and the numbered feed of their changes.

    Every member may call; the service decides call by call what its machine may see and write
    (Denied), for a machine that only runs guests has no business with other hosts' tenants.
    """

    async def commit(self, commit: Commit) -> Committed:
        """Commit: all of it is on disk when this answers.

        Raises Conflict (exists, unique key), Stale, NotFound (update of an absent row), Full
        (range or tally), Denied (another role's fact), Invalid (a row of the wrong shape).
        """
        ...

    async def meet(self, mark: Mark | None) -> Met:
        """Return whose database it is, how far it is, and what time it is there.

        `mark` is what the caller was given before. One beyond the database shows that an earlier
        state of it was put back: its numbers then go on above all that were given, and readers
        start anew. A mark of another cloud is ignored.
        """
        ...

    async def get(self, kind: str, id: str) -> Row:
        """Return one row. Raises NotFound."""
        ...

    async def find(
        self, kind: str, where: dict[str, Any], after: str, limit: int
    ) -> tuple[Row, ...]:
        """Find rows whose columns have these values, by rising id, from past `after`.

        Columns must be Keys (Invalid otherwise); a tuple or list means any of its values.
        """
        ...

    async def head(self, kinds: tuple[str, ...]) -> int:
        """Return the last number of any of these kinds; all acknowledged commits are in it."""
        ...

    async def heads(self, kinds: tuple[str, ...]) -> tuple[int, ...]:
        """Return the last number of each of these kinds, in their order."""
        ...

    @within(seconds=30)
    async def feed(self, after: int, kinds: tuple[str, ...], limit: int) -> Feed:
        """Return what changed past that number; Gone if the feed no longer reaches back so far."""
        ...

    @within(seconds=30)
    async def history(self, id: str, trace: str, limit: int) -> tuple[Past, ...]:
        """Return the last entries of one row (any kind with that id) or of one trace, oldest first.

        Exactly one of `id` and `trace` is given (Invalid otherwise). It reaches back as far as
        the feed does.
        """
        ...

    @callers(*CONTROLLING)
    @within(seconds=60)
    async def check(self) -> tuple[str, ...]:
        """Return what is wrong with the service's own books, a sentence each; none if all is well.

        A number missing in the feed, a head that differs from the last entry, a row whose
        revision or text is not that of its last entry.
        """
        ...
