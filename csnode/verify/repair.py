"""The safe cures, done: each guarded, so that what moved since it was judged is left alone.

What is asked of hosts and pools carries the number of the judged commit as its fence: whoever
was given the right to act since then carries a higher one, and ours is refused as outdated. What
is written names the revision that was judged.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from typing import Any

from csnode.bus.bus import Bus
from csnode.clock import now
from csnode.context import acting
from csnode.contracts.compute import Compute
from csnode.contracts.networking import Networking
from csnode.contracts.storage import Storage
from csnode.data.change import Change
from csnode.data.store import Store
from csnode.faults import Fault, NotFound
from csnode.log import logger
from csnode.model.entity import Entity
from csnode.model.job import Job
from csnode.model.network import Network, Nic
from csnode.model.orders import ImplementNetwork, Order, ShutdownNetwork, StopVm
from csnode.model.stock import Tally
from csnode.model.vm import Vm, Want
from csnode.types import (
    AccountId,
    DomainId,
    NetworkId,
    NetworkOfferingId,
    OfferingId,
    Struct,
    TemplateId,
    VmId,
    ZoneId,
)
from csnode.verify import stuck
from csnode.verify.finding import (
    ClearDoubt,
    Cure,
    DropRow,
    Finding,
    FreeJob,
    GiveBack,
    OrderNetwork,
    OrderStop,
    Recount,
    RemoveDomain,
    RemoveNic,
    RemoveRouter,
    SetAside,
    TakeAgain,
    TellNic,
    TellRouter,
)
from csnode.verify.judge import PAUSE_S, Verdict, verify
from csnode.verify.rows import TYPES

ROUNDS = 4  # one cure may bring another to light: a router told again lacks its cards
JOBS_WITHIN_S = 120.0
log = logger("verify")


class Done(Struct):
    """One cure, and what came of it; `why` says why it was not done."""

    finding: Finding
    did: str = ""
    why: str = ""


async def cured(
    bus: Bus, store: Store, verdict: Verdict, pause_s: float | None = PAUSE_S
) -> tuple[list[Done], Verdict]:
    """Do the safe cures and judge again, until nothing is left that has one; what was done."""
    done: list[Done] = []
    retried: set[str] = set()
    for _ in range(ROUNDS):
        curable = [f for f in (*verdict.findings, *verdict.notes) if f.repair is not None]
        hand = Hand(bus, store, verdict.number, retried)
        round = [await hand.cure(finding) for finding in curable]
        done += round
        await hand.settle()
        if round:
            verdict = await verify(bus, store, pause_s)
        if not any(one.did for one in round):
            break
    return done, verdict


class Hand:
    """Does cures for what was judged at one number, and waits for the jobs that it ordered."""

    def __init__(self, bus: Bus, store: Store, number: int, retried: set[str]) -> None:
        """Make a hand; `retried` is shared by the rounds: stuck jobs whose undo was tried again."""
        self._bus, self._store, self._number, self._retried = bus, store, number, retried
        self._jobs: list[str] = []

    async def cure(self, finding: Finding) -> Done:
        """Cure a finding, and return what came of it.

        A cure that is refused is told, and the next one is tried.
        """
        cure = finding.repair
        if cure is None:
            return Done(finding=finding, why="no cure is known for it")
        try:
            with acting(fence=self._number):
                did = await _DO[type(cure)](self, cure)
        except Fault as fault:
            log.info("not cured", check=finding.check, id=finding.id, why=fault.message)
            return Done(finding=finding, why=fault.message)
        log.warning("cured", check=finding.check, id=finding.id, host=finding.host, did=did)
        return Done(finding=finding, did=did)

    async def settle(self) -> None:
        """Wait until the jobs ordered have ended; one that does not is found by what follows."""
        until = now() + JOBS_WITHIN_S
        for id in self._jobs:
            while now() < until:
                try:
                    if not (await self._store.get(Job, id)).open:
                        break
                except NotFound:
                    break
                await asyncio.sleep(0.1)

    # -- at hosts and pools ------------------------------------------------------------------

    async def remove_domain(self, cure: RemoveDomain) -> str:
        await self._bus.ask(Compute, at=cure.host).ensure_absent(cure.vm)
        return "removed the domain from its host"

    async def set_aside(self, cure: SetAside) -> str:
        await self._bus.ask(Storage, at=cure.pool).set_aside(cure.id)
        return "set the bytes aside"

    async def remove_nic(self, cure: RemoveNic) -> str:
        await self._bus.ask(Networking, at=cure.host).ensure_no_nic(cure.network, cure.nic)
        return "had the router forget the card"

    async def tell_nic(self, cure: TellNic) -> str:
        await self._bus.ask(Networking, at=cure.host).ensure_nic(cure.nic)
        return "told the router of the card"

    async def tell_router(self, cure: TellRouter) -> str:
        await self._bus.ask(Networking, at=cure.host).ensure_router(cure.network)
        return "told the router again what it is to be"

    async def remove_router(self, cure: RemoveRouter) -> str:
        await self._bus.ask(Networking, at=cure.host).ensure_no_router(cure.network)
        return "removed what the host had of the network"

    async def clear_doubt(self, cure: ClearDoubt) -> str:
        """Write the orchestrator's fact: no job is at work, so nobody else may write it now."""
        row = await self._store.get(Vm, cure.vm)
        await self._bus.ask(Compute, at=cure.host).ensure_absent(cure.vm)
        change = self._store.acting_as("orchestrator").change()
        left = tuple(host for host in row.maybe_on if host != cure.host)
        change.update(Vm, cure.vm, revision=cure.revision, maybe_on=left)
        await change.commit()
        return "the host proved that it has no such machine"

    # -- in the records ----------------------------------------------------------------------

    async def recount(self, cure: Recount) -> str:
        change = self._store.change()
        if cure.revision:
            change.delete(Tally, cure.owner, revision=cure.revision)
        change.count(cure.owner, cure.used)
        await change.commit()
        return "counted anew"

    async def drop_row(self, cure: DropRow) -> str:
        change = self._store.change()
        change.delete(TYPES[cure.kind], cure.id, revision=cure.revision)
        await change.commit()
        return f"deleted the {cure.kind}"

    async def give_back(self, cure: GiveBack) -> str:
        """Give a value back.

        Making the owner's row and taking it away again fails if there is one by now.
        """
        change = self._store.change()
        stand_in = _STAND_INS[cure.owner_kind](cure.owner)
        change.create(stand_in)
        change.delete(type(stand_in), stand_in.id)
        change.give(cure.owner, cure.range)
        await change.commit()
        return f"gave it back to {cure.range}"

    async def take_again(self, cure: TakeAgain) -> str:
        change = self._store.change()
        change.update(TYPES[cure.kind], cure.id, revision=cure.revision)
        change.take(cure.range, cure.id, wish=cure.value)
        await change.commit()
        return f"took it of {cure.range} again"

    async def order_stop(self, cure: OrderStop) -> str:
        vm = await self._store.get(Vm, cure.vm)
        want = Want.STOPPED if vm.want is Want.RUNNING else vm.want
        change = self._store.change()
        change.update(Vm, cure.vm, revision=cure.revision, want=want)
        return await self._ordered(change, StopVm(vm=cure.vm), vm.account)

    async def order_network(self, cure: OrderNetwork) -> str:
        network = await self._store.get(Network, cure.network)
        change = self._store.change()
        change.update(Network, cure.network, revision=cure.revision)
        order = ImplementNetwork if cure.used else ShutdownNetwork
        return await self._ordered(change, order(network=cure.network), network.account)

    async def free_job(self, cure: FreeJob) -> str:
        job = await self._store.get(Job, cure.job)
        self._jobs.append(job.id)
        if job.id not in self._retried:
            self._retried.add(job.id)
            await stuck.retry(self._store, job)
            return "had its undo tried again"
        await stuck.release(self._bus, self._store, job)
        return "released it, for its undo was refused again"

    async def _ordered(self, change: Change, order: Order, account: AccountId) -> str:
        job = change.order(order, account=account)
        await change.commit()
        self._jobs.append(job.id)
        return f"ordered {order.verb()}, job {job.id}"


_DO: dict[type[Cure], Callable[[Hand, Any], Awaitable[str]]] = {
    RemoveDomain: Hand.remove_domain,
    SetAside: Hand.set_aside,
    RemoveNic: Hand.remove_nic,
    TellNic: Hand.tell_nic,
    TellRouter: Hand.tell_router,
    RemoveRouter: Hand.remove_router,
    ClearDoubt: Hand.clear_doubt,
    Recount: Hand.recount,
    DropRow: Hand.drop_row,
    GiveBack: Hand.give_back,
    TakeAgain: Hand.take_again,
    OrderStop: Hand.order_stop,
    OrderNetwork: Hand.order_network,
    FreeJob: Hand.free_job,
}


def _nic(id: str) -> Nic:
    return Nic(id=id, vm=VmId(""), network=NetworkId(""), mac="")


def _network(id: str) -> Network:
    return Network(
        id=id, name="", account=AccountId(""), domain=DomainId(""), zone=ZoneId(""),
        offering=NetworkOfferingId(""), cidr="", gateway="",
    )  # fmt: skip


def _vm(id: str) -> Vm:
    return Vm(
        id=id, name="", account=AccountId(""), domain=DomainId(""), zone=ZoneId(""),
        offering=OfferingId(""), template=TemplateId(""), cpus=1, memory_mib=1,
    )  # fmt: skip


_STAND_INS: dict[str, Callable[[str], Entity]] = {"nic": _nic, "network": _network, "vm": _vm}
