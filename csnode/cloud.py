"""Which cloud a process belongs to, and what it knows of it.

A cluster's name is a word in a file: two clouds may have the same. What tells them apart is the id
in the database (Data.meet). A process that has met one knows no other from then on, and neither do
those that start later on this machine: the id is kept in [node] state. So is the last mark, which
shows to a database that was put back how far it had been.
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path
from typing import Protocol

import msgspec

from csnode.clock import Bearings, now, own_wall
from csnode.context import era_of
from csnode.contracts.data import Data, Mark
from csnode.directory.directory import Member, floor, serving
from csnode.faults import Conflict, Unavailable
from csnode.log import logger
from csnode.types import Message

MEETS = 4  # the wire number that `Data.meet` came with
MEET_S = 5.0  # between two looks
KEEP_S = 60.0  # between two writings of the mark
RIGHT_S = 2.0  # clocks that differ by less are right
log = logger("cloud")


class Known(Message):
    """What is kept on this machine."""

    cloud: str = ""
    mark: Mark | None = None


class Notes(Protocol):
    """Where a machine keeps what its processes know of their cloud. Its text says where that is."""

    def read(self) -> bytes:
        """Return what was written last. Raises OSError, also if nothing was."""
        ...

    def write(self, known: bytes) -> None:
        """Keep this and nothing else, whole or not at all. Raises OSError."""
        ...


class FileNotes:
    """Notes in a file, for all processes of a machine that share [node] state."""

    def __init__(self, file: Path) -> None:
        self._file = file

    def read(self) -> bytes:
        """Return what the file has."""
        return self._file.read_bytes()

    def write(self, known: bytes) -> None:
        """Replace the file, for a reader finds it whole."""
        new = self._file.with_name(f".{self._file.name}.{os.getpid()}")
        self._file.parent.mkdir(mode=0o711, parents=True, exist_ok=True)
        new.write_bytes(known)
        os.replace(new, self._file)

    def __str__(self) -> str:
        return str(self._file)


class Cloud:
    """A process's own cloud: the first whose data service it met, here or at an earlier start."""

    def __init__(self, notes: Notes, cluster: str) -> None:
        self._notes, self._cluster = notes, cluster
        self.bearings = Bearings()
        self.known = Known()
        self.trouble = ""
        self._keeps = False  # the database is ours: no other id counts
        self._kept_at = float("-inf")
        self.recall()

    @property
    def id(self) -> str:
        """Empty before it is known."""
        return self.known.cloud

    def recall(self) -> None:
        """Know what this machine knows: a process on it may have met the cloud before us."""
        if self._keeps:
            return
        try:
            self.known = msgspec.json.decode(self._notes.read(), type=Known)
        except OSError:
            return
        except msgspec.MsgspecError as error:
            log.warning("what is known of the cloud cannot be read", why=str(error))

    def keep(self, cloud: str) -> None:
        """Note that this process keeps the database of that cloud."""
        self._keeps = True
        if self.id != cloud:
            self._learn(Known(cloud=cloud))

    def has(self, member: Member) -> bool:
        """Tell whether the member is one of this cloud, or may be."""
        return not self.id or member.cloud in ("", self.id)

    def strangers(self, members: Sequence[Member]) -> list[Member]:
        """Return those who work on another database under this cluster's name."""
        return [m for m in members if not self.has(m)]

    async def meet(self, data: Data, members: Sequence[Member]) -> None:
        """See that the data service is that of our cloud, and what it knows.

        Raises Unavailable if nobody answers, Conflict if it is of another cloud, or if there are
        two and we know neither.
        """
        self._check(members)
        asked, by = now(), own_wall()
        try:
            met = await data.meet(self.known.mark)
        except Unavailable:
            if floor(serving(members, Data.__name__)) >= MEETS:
                raise
            await data.head(())  # one of the version before is met by no more than that
            self.trouble = ""
            return
        if self.id and met.cloud != self.id:
            raise Conflict(self._refusal(met.cloud, "the data service"))
        self.trouble = ""
        self._take_bearings(met.mark, by + (now() - asked) / 2)
        old, new = self.known.mark, met.mark
        era = old is None or era_of(old.number) != era_of(new.number)
        if era or self.id != met.cloud or now() > self._kept_at + KEEP_S:
            self._learn(Known(cloud=met.cloud, mark=new))
        else:
            self.known = Known(cloud=met.cloud, mark=new)

    def _check(self, members: Sequence[Member]) -> None:
        """Raise Conflict if a second cloud has our name, or if only another one is served."""
        servers = serving(members, Data.__name__)
        if not self.id:
            ids = {m.cloud: m for m in servers if m.cloud}
            if len(ids) > 1:
                at = " and ".join(f"{m.node} ({id})" for id, m in sorted(ids.items()))
                raise Conflict(
                    f"two clouds are called {self._cluster}: {at}; stop one of them, or give it"
                    " another name ([node] cluster)"
                )
        elif servers and not any(self.has(m) for m in servers):
            raise Conflict(self._refusal(servers[0].cloud, servers[0].node))

    def _refusal(self, cloud: str, where: str) -> str:
        return (
            f"this machine belongs to the cloud {self.id}, and {where} keeps the database of"
            f" {cloud}; if it is to belong there, remove {self._notes} and start again"
        )

    def _take_bearings(self, mark: Mark, own: float) -> None:
        off, before = mark.at - own, self.bearings.off_s
        self.bearings.off_s = off if abs(off) > RIGHT_S else 0.0
        if abs(self.bearings.off_s - before) > RIGHT_S:
            log.warning("this machine's clock is not the data service's", off_s=round(off, 1))
        self.bearings.era = max(self.bearings.era, era_of(mark.number))

    def warnings(self, members: Sequence[Member]) -> list[str]:
        """Return what an operator should mend although all goes on, a line each."""
        found = [
            f"{m.node} is of another cloud ({m.cloud}) with the name {self._cluster}; nobody of"
            " this one asks it"
            for m in self.strangers(members)
        ]
        if off := self.bearings.off_s:
            way = "behind" if off > 0 else "ahead of"
            found.append(f"this machine's clock is {abs(off):.0f} s {way} the data service's")
        return found

    def _learn(self, known: Known) -> None:
        self.known, self._kept_at = known, now()
        try:
            self._notes.write(msgspec.json.encode(known))
        except OSError as error:
            log.info("what is known of the cloud cannot be kept", file=str(self._notes),
                     why=str(error))  # fmt: skip
