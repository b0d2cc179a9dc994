"""One saga on an engine of its own, over a data service in memory: a job takes milliseconds."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Any, ClassVar

from csnode.bus.local import LocalBus
from csnode.clock import now
from csnode.context import current
from csnode.contracts.data import Commit, Committed
from csnode.data.store import E, Store
from csnode.data.view import View
from csnode.directory.alone import AloneDirectory
from csnode.directory.directory import WIRE, Member, Serving
from csnode.faults import Fault, Unavailable
from csnode.model.event import UserEvent
from csnode.model.identity import Account, Domain
from csnode.model.job import Cancel, Job, JobState, Tried
from csnode.model.orders import Order
from csnode.model.place import Zone
from csnode.model.stock import Lock, Tally
from csnode.saga.engine import Engine
from csnode.saga.saga import Saga, step
from csnode.testing.loop import simulate
from csnode.types import AccountId, DomainId, NodeId, UserId
from roles.data.config import DataConfig
from tests.contract.data_writer import playing

ME = NodeId("me#1")
FORWARD = ["first", "second", "third", "succeeded"]  # all that a job does which goes well
BEFORE = {"first": 9, "second": 9, "third": 9}  # a step that is undone once too often is seen


class Walk(Order):
    """Take three steps about a zone."""

    object_kind: ClassVar[str] = "zone"

    @property
    def object_id(self) -> str:
        return "z"


class Walker(Saga[Walk]):
    """Does at each step what the desk says, and tells of it; `second` has nothing to undo."""

    event = "ZONE.WALK"
    desk: ClassVar[Desk]

    async def _at(self, where: str) -> str:
        desk = type(self).desk
        desk.told.append(where)
        desk.fences.append(current().fence)
        if where != "turned":
            undo, _, what = where.rpartition(" ")
            self.change.count("walked", {what: -1 if undo else 1})
        if (does := desk.does.get(where)) is not None:
            await does(desk.told.count(where))
        return f"{where} done"

    @step
    async def first(self) -> str:
        return await self._at("first")

    @first.undo
    async def undo_first(self) -> None:
        await self._at("undo first")

    @step
    async def second(self) -> str:
        return await self._at("second")

    @step
    async def third(self) -> str:
        return await self._at("third")

    @third.undo
    async def undo_third(self) -> None:
        await self._at("undo third")

    async def turned(self) -> None:
        await self._at("turned")

    def elsewhere(self, step: str, fault: Fault) -> Tried | None:
        place = type(self).desk.places.get(step)
        return Tried(id=place, name=place, why=fault.message) if place else None

    async def succeeded(self) -> None:
        await self._at("succeeded")

    async def failed(self, why: str) -> None:
        type(self).desk.why.append(why)
        await self._at("failed")


class Away(Store):
    """A store whose commits may be answered by what a test says, sent or not."""

    loses: Callable[[Commit], Awaitable[Fault | None]] | None = None  # before it is sent
    forgets: Callable[[Commit], Awaitable[Fault | None]] | None = None  # after it happened

    silent = 0  # so many reads of the job's row are not answered

    async def get(self, kind: type[E], id: str) -> E:
        if kind is Job and self.silent:
            self.silent -= 1
            raise Unavailable("nobody answered")
        return await super().get(kind, id)

    async def commit(self, commit: Commit) -> Committed:
        if self.loses is not None and (fault := await self.loses(commit)) is not None:
            raise fault
        done = await super().commit(commit)
        if self.forgets is not None and (fault := await self.forgets(commit)) is not None:
            raise fault
        return done


class Desk:
    """The engine, what it was told to do at each step, and what it did."""

    def __init__(self, bus: LocalBus) -> None:
        self.bus, self.store = bus, Away(bus, "orchestrator")
        self.view = View(self.store, (Job, Account, Cancel))
        self.does: dict[str, Callable[[int], Awaitable[None]]] = {}  # by step; how often it was at
        self.places: dict[str, str] = {}  # where a step fails
        self.told, self.why = list[str](), list[str]()
        self.fences: list[int] = []
        Walker.desk = self
        self.engine = Engine({"walk": Walker}, bus, self.store, self.view, places=2)
        self.claimed = 0

    async def claim(self, **columns: Any) -> Job:
        """A job as it is when its orchestrator has just claimed it."""
        given: dict[str, Any] = {
            "needs": ("zone:z",), "object_kind": "zone", "object_id": "z", "trace": "t",
            "account": AccountId("a"), "user": UserId("u"), "state": JobState.RUNNING,
        }  # fmt: skip
        change = self.store.change()
        job = change.create(Job(id="j", verb="walk", order={}, owner=ME, **given | columns))
        for need in job.needs:
            change.create(Lock(id=need, job=job.id))
        self.claimed = (await change.commit()).number
        await self.view.fresh()
        return await self.row()  # at the revision that it has

    async def run(self, **columns: Any) -> Job:
        """Claim a job and take it to its end; what its row says then."""
        job = await self.engine.run(await self.claim(**columns), self.claimed)
        row = await self.row()
        assert job == row
        return row

    async def row(self) -> Job:
        return await self.store.get(Job, "j")

    async def walked(self) -> dict[str, int]:
        """What was committed of what the steps added."""
        (tally,) = await self.store.find(Tally, id="walked")
        walked = {name: n - BEFORE.get(name, 0) for name, n in tally.used.items()}
        return {name: n for name, n in walked.items() if n}

    async def events(self) -> list[UserEvent]:
        return await self.store.find(UserEvent)

    async def locks(self) -> list[str]:
        return [lock.id for lock in await self.store.find(Lock)]


def failing(*faults: Fault | None) -> Callable[[int], Awaitable[None]]:
    """Whoever comes the first time meets the first fault, and so on; then the last one, or none."""

    async def does(times: int) -> None:
        fault = faults[times - 1] if times <= len(faults) else None
        if fault is not None:
            raise fault

    return does


def data_service(wire: int) -> Member:
    """One that speaks by that wire number."""
    return Member(
        node=NodeId("data"), cluster="c", incarnation=1, number=1, host="x", roles=("data",),
        serves=(Serving(contract="Data", at=()),), calls="", events="", wire=wire,
    )  # fmt: skip


def told(story: Callable[[Desk], Awaitable[None]]) -> None:
    """The story, in virtual time."""

    async def whole() -> None:
        directory = AloneDirectory()
        bus = LocalBus(directory)
        async with playing(bus, DataConfig(path=":memory:", inline=True)):
            directory.announce(data_service(WIRE))
            desk = Desk(bus)
            change = desk.store.acting_as("fabric").change()
            change.create(Zone(id="z", name="z"))
            change.create(Domain(id="d", name="d", path="d"))
            change.create(Account(id="a", name="a", domain=DomainId("d")))
            change.count("walked", BEFORE)
            await change.commit()
            await desk.view.open()
            try:
                await story(desk)
            finally:
                desk.view.close()
            assert now() < 10_000

    simulate(whole())
