"""Judges the hosts: gathers what is known of each, writes the verdict, and orders what follows."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Sequence

from msgspec.structs import replace

from csnode.clock import now, wall
from csnode.data.alarm import HOST, alarm
from csnode.data.change import Change
from csnode.data.store import Store
from csnode.data.view import View
from csnode.directory.directory import Directory, Health, Member
from csnode.directory.roster import SUSPECT_S
from csnode.faults import NotFound
from csnode.log import logger
from csnode.model.host import Host, Seen
from csnode.model.job import Job, JobState
from csnode.model.orders import FenceHost, Order, ReturnHost
from csnode.types import HostId
from roles.monitor.verdict import Evidence, Verdict, others_of, present, verdict
from roles.monitor.witnesses import Testimony, Witnesses

FORGET_S = 600.0  # a machine that left, and is no host
REWORD_S = 5.0  # how often the same verdict may be given other reasons
PAUSE_S, PAUSE_MAX_S = 5.0, 60.0  # between tries to fence a host, or to take it back
log = logger("monitor")


class Watch:
    """One monitor's knowledge. It is kept by each, and acted on by the one that holds the lease."""

    def __init__(
        self, store: Store, view: View, directory: Directory, witnesses: Witnesses, silence_s: float
    ) -> None:
        self._store, self._view, self._directory = store, view, directory
        self._witnesses, self._silence_s = witnesses, silence_s
        self.wake = asyncio.Event()
        self.next_s = 1.0  # until the next look, at the latest
        self._well: dict[str, float] = {}  # host -> when it was last well
        self._machines: dict[str, float] = {}  # machine -> when it was last heard
        self._written: dict[str, float] = {}
        self._orders: dict[str, tuple[float, float]] = {}  # host -> when again, and the pause then

    async def judge(self, up: Callable[[Host], Awaitable[None]]) -> None:
        """Look once at every host. `up` is awaited for one that comes up, before it is said."""
        members = self._directory.members()
        heard, known = self._speaking(members)
        here = present(members)
        self.next_s = 1.0
        for host in self._view.all(Host):
            evidence = self._evidence(host, here.get(host.id), members)
            if evidence is None:
                continue
            evidence = replace(evidence, machines_heard=heard, machines_known=known)
            found = verdict(evidence, self._silence_s)
            if found is not None:
                await self._act(host, found, up)

    # -- what is known -----------------------------------------------------------------------

    def _speaking(self, members: Sequence[Member]) -> tuple[int, int]:
        """Count the machines that are heard, of how many that ought to be."""
        moment = now()
        hosts = {host.id: host for host in self._view.all(Host)}
        heard: set[str] = set()
        for member in members:
            if member.health is not Health.SUSPECT:
                heard.add(member.host)
                served = (at for s in member.serves for at in s.at if at in hosts)
                heard.update(hosts[at].name for at in served)
        self._machines.update(dict.fromkeys(heard, moment))
        off = {host.name for host in hosts.values() if host.fenced or host.degraded}
        expected = {host.name for host in hosts.values()} - off
        known = (expected | set(self._machines)) - (off - heard)
        if len(heard) * 2 > len(known):  # one that is cut off must not forget the others
            late = {m for m, at in self._machines.items() if moment - at > FORGET_S}
            self._machines = {m: at for m, at in self._machines.items() if m not in late}
        return len(heard), len(known)

    def _evidence(
        self, host: Host, health: Health | None, members: Sequence[Member]
    ) -> Evidence | None:
        """Gather evidence; None while witnesses are still to be heard."""
        moment = now()
        if health in (Health.OK, Health.DRAINING):
            self._well[host.id] = moment
            return Evidence(compute=health, fenced=bool(host.fenced))
        well = self._well.setdefault(host.id, moment)
        if health is Health.SUSPECT:
            well = self._well[host.id] = min(well, moment - SUSPECT_S)
        silent = moment - well
        if host.fenced:
            return Evidence(silent_for=silent, fenced=True)
        said = self._testimony(host, silent, members)
        if silent < self._silence_s:
            self.next_s = min(self.next_s, max(0.05, self._silence_s - silent))
        elif said is None:
            return None
        said = said or Testimony(at=moment)
        return Evidence(
            compute=health,
            silent_for=silent,
            heard=others_of(host, members),
            reached_by=said.reached_by,
            missed_by=said.missed_by,
        )

    def _testimony(self, host: Host, silent: float, members: Sequence[Member]) -> Testimony | None:
        """Return what witnesses say of a host that has been silent for long enough to ask."""
        if silent < SUSPECT_S:
            return None
        said = self._witnesses.said(host.id)
        if said is None or now() - said.at >= 1.0:
            asking = self._witnesses.ask(host.id, host.address, members)
            asking.add_done_callback(lambda _: self.wake.set())
        return said

    # -- what follows ------------------------------------------------------------------------

    async def _act(self, host: Host, found: Verdict, up: Callable[[Host], Awaitable[None]]) -> None:
        changed = found.seen is not host.seen
        order = await self._due(host, found)
        if changed and found.seen is Seen.UP:
            await up(host)
        reworded = found.why != host.why and now() - self._written.get(host.id, 0.0) > REWORD_S
        if not changed and not reworded and order is None:
            return
        change = self._store.change()
        if changed:
            log.info("host", host=host.name, seen=found.seen, was=host.seen, why=found.why)
            change.update(Host, host.id, seen=found.seen, seen_since=wall(), why=found.why)
        elif reworded:
            change.update(Host, host.id, why=found.why)
        if order is not None:
            change.order(order)
        if (
            await self._committed(host, change)
            and changed
            and found.seen in (Seen.DOWN, Seen.ALERT)
        ):
            await alarm(self._store, HOST, host, "silent", f"Host {host.name}: {found.why}")

    async def _committed(self, host: Host, change: Change) -> bool:
        self._written[host.id] = now()
        try:
            await self._view.reach((await change.commit()).number)
        except NotFound:  # it has left the cloud
            self._well.pop(host.id, None)
            return False
        return True

    async def _due(self, host: Host, found: Verdict) -> Order | None:
        """Return what is to be ordered about the host now; tried again after growing pauses."""
        order: Order
        if found.seen is Seen.DOWN and host.ha and not host.fenced:
            order = FenceHost(host=HostId(host.id))
        elif found.seen is Seen.CONNECTING and host.fenced:
            order = ReturnHost(host=HostId(host.id))
        else:
            if found.seen is Seen.UP:
                self._orders.pop(host.id, None)
            return None
        due, pause = self._orders.get(host.id, (0.0, PAUSE_S))
        if found.seen is not host.seen:
            due, pause = 0.0, PAUSE_S
        if now() < due or await self._is_busy(host):
            return None
        self._orders[host.id] = now() + pause, min(pause * 2, PAUSE_MAX_S)
        return order

    async def _is_busy(self, host: Host) -> bool:
        jobs = await self._store.find(Job, object_id=host.id)
        return any(job.open or job.state is JobState.STUCK for job in jobs)
