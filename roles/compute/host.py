"""One host: serves Compute there, and reports what power its machines really have."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Collection, Coroutine, Mapping, Sequence
from functools import partial
from typing import Any, NamedTuple, TypeVar
from weakref import WeakValueDictionary

from csnode.clock import now
from csnode.context import Fences, current
from csnode.contracts.compute import Compute
from csnode.data.store import Store
from csnode.drivers.hypervisor import Hypervisor
from csnode.faults import Conflict, Fault, NotFound, Unavailable
from csnode.log import logger
from csnode.model.host import Host, Seen
from csnode.model.machine import Domain, FoundDomain, HostFacts, Landing, Move
from csnode.model.vm import Vm
from csnode.sweep import Strangers, at_work, was_ours
from csnode.types import HostId, Power, VmId

T = TypeVar("T")
ON_ITS_WAY_S = 60.0  # how long a caller waits for a move before he is told that it goes on
FRESH_S = 3.0  # an answer that took longer says nothing of now: we may have slept meanwhile
CANCEL_AGAIN_S = 0.5  # a move may begin in the moment in which it is cancelled
log = logger("compute")


class Moving(NamedTuple):
    """A move under way, and the fence of whoever ordered it."""

    fence: int
    task: asyncio.Task[Power]


class HostCompute(Compute):
    """Asks the hypervisor for one thing at a time for each machine, and tells what came of it."""

    def __init__(
        self, id: HostId, hypervisor: Hypervisor, store: Store, ghost_seconds: float = 20.0
    ) -> None:
        self.id = id
        self.suspect = False  # it did not answer the last time; a survey will tell
        self.trouble = ""  # why the last survey failed
        self._hypervisor, self._store = hypervisor, store
        self._ghosts = Strangers("machines", f"host {id}", ghost_seconds)
        self._foreign: set[VmId] = set()  # never of this cloud: left alone, and told of
        self._watching = hypervisor.watch()
        self._fences = Fences()
        self._locks: WeakValueDictionary[VmId, asyncio.Lock] = WeakValueDictionary()
        self._told: dict[VmId, Power] = {}  # what was written last; not here: nothing, or ABSENT
        self._work: dict[asyncio.Task[Any], None] = {}  # in the order in which it began
        self._moves: dict[VmId, Moving] = {}

    # -- Compute ---------------------------------------------------------------------------

    async def describe(self) -> HostFacts:
        return await self._asked(self._hypervisor.describe())

    async def ensure_running(self, domain: Domain) -> Power:
        async def verb() -> Power:
            await self._check_in_use()
            power = await self._done("started", domain.vm, self._hypervisor.ensure_running(domain))
            await self._tell(domain.vm, power)
            return power

        return await self._ordered(domain.vm, verb)

    async def ensure_off(self, vm: VmId, forced: bool) -> Power:
        async def verb() -> Power:
            power = await self._done("ended", vm, self._hypervisor.ensure_off(vm, forced))
            await self._tell_if_ours(vm, power)
            return power

        return await self._ordered(vm, verb)

    async def ensure_absent(self, vm: VmId) -> None:
        async def verb() -> None:
            await self._remove(vm)

        await self._ordered(vm, verb)

    async def reboot(self, vm: VmId, forced: bool) -> Power:
        async def verb() -> Power:
            power = await self._done("rebooted", vm, self._hypervisor.reboot(vm, forced))
            await self._tell_if_ours(vm, power)
            return power

        return await self._ordered(vm, verb)

    async def ensure_expected(self, vm: VmId) -> Landing:
        async def verb() -> Landing:
            await self._check_in_use()
            return await self._asked(self._hypervisor.ensure_expected(vm))

        return await self._ordered(vm, verb)

    async def ensure_moved(self, move: Move) -> Power:
        """Move the machine.

        A move outlasts the calls that ask for it; the one that finds it ended hears how.
        """
        vm, fence = move.domain.vm, current().fence
        moving = self._moves.get(vm)
        if moving is None or moving.fence != fence:
            moving = Moving(fence, self._begin(self._alone(vm, partial(self._send, move))))
            self._moves[vm] = moving
        await asyncio.wait((moving.task,), timeout=ON_ITS_WAY_S)
        if not moving.task.done():
            return Power.ON
        if self._moves.get(vm) is moving:
            del self._moves[vm]
        return moving.task.result()

    async def cancel_move(self, vm: VmId, stays: bool) -> Power:
        """Refuse an earlier order to move it from now on; the one at work is ended."""
        self._fences.check(vm)

        async def verb() -> Power:
            power = await self._asked(self._hypervisor.cancel_move(vm, stays))
            await self._tell_if_ours(vm, power)
            return power

        alone = self._begin(self._alone(vm, verb))
        while not (await asyncio.wait((alone,), timeout=CANCEL_AGAIN_S))[0]:
            await self._asked(self._hypervisor.cancel_move(vm, False))
        return alone.result()

    async def ensure_arrived(self, vm: VmId) -> Power:
        async def verb() -> Power:
            return await self._asked(self._hypervisor.ensure_arrived(vm))

        return await self._ordered(vm, verb)

    async def outdate(self, id: VmId) -> None:
        """Outdate orders at once: a verb that waits for its turn is refused when it comes."""
        self._fences.check(id)

    async def survey(self) -> dict[VmId, Power]:
        return await self._asked(self._hypervisor.survey())

    async def inspect(self) -> tuple[FoundDomain, ...]:
        return await self._asked(self._hypervisor.inspect())

    async def console(self, vm: VmId) -> bytes:
        return await self._hypervisor.console(vm)

    # -- what happens by itself ------------------------------------------------------------

    async def follow(self) -> None:
        """Look at each machine that seems to have changed; a sighting may be old by now."""
        async for sighting in self._watching:
            vm = sighting.vm
            if vm in self._locks or sighting.power is not self._told.get(vm, Power.ABSENT):
                self._begin(self._look_quietly(vm))

    async def look(self) -> dict[VmId, Power] | None:
        """Look at all machines here; None, and noted as the host's trouble, if that cannot be."""
        try:
            seen = await self.survey()
        except Fault as fault:
            if not self.trouble:
                log.warning("cannot survey the host", host=self.id, why=fault.message)
            self.suspect, self.trouble = True, fault.message
            return None
        self.suspect, self.trouble = False, ""
        return seen

    async def compare(self, seen: Mapping[VmId, Power], rows: Sequence[Vm]) -> None:
        """Correct the rows of this host whose machines have another power than they say."""
        for row in rows:
            vm = VmId(row.id)
            if vm not in self._locks and row.power is not seen.get(vm, Power.ABSENT):
                await self._look_quietly(vm)

    async def expel(self, seen: Mapping[VmId, Power], rows: Sequence[Vm]) -> None:
        """Remove machines that have been nobody's for a while; `rows` are those of this host.

        Such a ghost may write to a disk, or answer at an address, that is another's by now.
        """
        ghosts = set(seen) - {VmId(row.id) for row in rows}
        ghosts -= await self._arriving(ghosts)
        self._foreign &= ghosts
        for vm in self._ghosts.ripe(ghosts, len(seen)):
            try:
                await self._ordered(VmId(vm), partial(self._expel, VmId(vm)))
            except Fault as fault:
                log.warning("ghost not removed", vm=vm, host=self.id, why=fault.message)

    @property
    def troubles(self) -> Sequence[str]:
        """What keeps this host from being as its records say."""
        foreign = ""
        if self._foreign:
            foreign = (
                f"machines on host {self.id} that this cloud never knew: "
                f"{', '.join(sorted(self._foreign))}; `csnode verify --repair` removes them"
            )
        return [trouble for trouble in (self.trouble, self._ghosts.trouble, foreign) if trouble]

    async def finish(self) -> None:
        """Wait for everything that is under way."""
        await asyncio.gather(*self._work, return_exceptions=True)

    async def close(self) -> None:
        """Stop waiting for what is under way; whoever ordered it will ask again."""
        for task in self._work:
            task.cancel()
        await self.finish()

    # -- one machine -----------------------------------------------------------------------

    async def _ordered(self, vm: VmId, verb: Callable[[], Awaitable[T]]) -> T:
        """Run the verb alone on its machine, to its end: the caller may stop waiting before."""
        return await asyncio.shield(self._begin(self._alone(vm, verb)))

    async def _alone(self, vm: VmId, verb: Callable[[], Awaitable[T]]) -> T:
        async with self._lock(vm):
            self._fences.check(vm)
            return await verb()

    async def _check_in_use(self) -> None:
        """Raise Conflict if the host was proven off, until it is taken back.

        Others believe that nothing is on it, and may start what an old order would start here.

        Raise Unavailable if it counts as Down, for it may be proven off any moment. Whoever says
        that it is not Down any more changes its row, and a proof from before is then refused. A
        host that is fenced by its lease goes on: so what was asked long ago must not be acted on
        here.
        """
        while True:
            began = now()
            try:
                row = await self._store.get(Host, self.id)
            except NotFound:
                return  # it is not of the cloud yet
            if row.fenced:
                raise Conflict(f"host {row.name} was fenced, and has not been taken back yet")
            if row.seen is Seen.DOWN:
                raise Unavailable(f"host {row.name} counts as Down: {row.why}")
            if now() - began <= FRESH_S:
                return

    async def _send(self, move: Move) -> Power:
        vm = move.domain.vm
        power = await self._done("sent", vm, self._hypervisor.ensure_moved(move))
        await self._tell_if_ours(vm, power)
        return power

    async def _arriving(self, machines: Collection[VmId]) -> set[VmId]:
        """Return those of them that are on their way to this host."""
        rows = await self._store.find(Vm, id=tuple(machines)) if machines else []
        return {VmId(row.id) for row in rows if row.moving_to == self.id}

    async def _expel(self, vm: VmId) -> None:
        """Expel a machine, alone on it.

        Whoever wants it here wrote that into its row before he called. One that the data service
        never heard of is another database's, and perhaps somebody's.
        """
        try:
            row = await self._store.get(Vm, vm)
        except NotFound:
            if not await was_ours(self._store, vm):
                self._foreign.add(vm)
                return
            why = "there is no such machine"
        else:
            if self.id in row.held_by:
                return
            why = f"it belongs on {row.host}" if row.host else "it should run nowhere"
        if not await at_work(self._store, vm):
            log.warning("removing a ghost", vm=vm, host=self.id, why=why)
            await self._remove(vm)

    async def _remove(self, vm: VmId) -> None:
        await self._done("removed", vm, self._hypervisor.ensure_absent(vm))
        await self._tell_if_ours(vm, Power.ABSENT)

    async def _look(self, vm: VmId) -> None:
        async with self._lock(vm):
            power = (await self.survey()).get(vm, Power.ABSENT)
            await self._tell_if_ours(vm, power)

    async def _look_quietly(self, vm: VmId) -> None:
        try:
            await self._look(vm)
        except Fault as fault:  # the next survey finds it
            log.info("cannot report a machine yet", vm=vm, why=fault.message)

    def _lock(self, vm: VmId) -> asyncio.Lock:
        return self._locks.setdefault(vm, asyncio.Lock())

    def _begin(self, work: Coroutine[Any, Any, T]) -> asyncio.Task[T]:
        task = asyncio.create_task(work)
        self._work[task] = None
        task.add_done_callback(self._ended)
        return task

    def _ended(self, task: asyncio.Task[Any]) -> None:
        self._work.pop(task, None)
        if not task.cancelled():
            task.exception()  # nobody may be left to hear of it

    # -- what the store and the node are told ----------------------------------------------

    async def _tell_if_ours(self, vm: VmId, power: Power) -> None:
        """Tell the power if it is ours to report: the machine may run on another host by now.

        One that is on its way to another host is not absent, though it may not be here any more.
        """
        try:
            row = await self._store.get(Vm, vm)
        except NotFound:
            self._told.pop(vm, None)
            return
        gone = row.moving_to is not None and power is Power.ABSENT
        if row.host not in {None, self.id} or gone:
            self._told.pop(vm, None)
        elif row.power is not power:
            await self._tell(vm, power)
        else:
            self._remember(vm, power)

    async def _tell(self, vm: VmId, power: Power) -> None:
        try:
            await self._store.observe(Vm, vm, power=power)
        except NotFound:  # the row is gone, and with it who wanted to know
            power = Power.ABSENT
        self._remember(vm, power)

    def _remember(self, vm: VmId, power: Power) -> None:
        if power is Power.ABSENT:
            self._told.pop(vm, None)
        else:
            self._told[vm] = power

    async def _done(self, what: str, vm: VmId, asking: Awaitable[T]) -> T:
        """Await an act of the hypervisor's, and log how it went; the trace says for whom."""
        try:
            answer = await self._asked(asking)
        except Fault as fault:
            log.info(f"domain not {what}", vm=vm, host=self.id, why=fault.message)
            raise
        log.info(f"domain {what}", vm=vm, host=self.id)
        return answer

    async def _asked(self, asking: Awaitable[T]) -> T:
        """Await the hypervisor, and note if it does not answer at all."""
        try:
            return await asking
        except Unavailable:
            self.suspect = True
            raise
