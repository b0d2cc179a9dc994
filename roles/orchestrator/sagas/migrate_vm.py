"""Migrate: a running machine moves to another host, and runs all the while.

Whatever fails before it has moved leaves it running where it was, and nothing of it elsewhere.
From then on there is no way back: it stays where it is, also if the job fails after that. What
tells is never our own memory but the two hosts: the source says that it has no such machine, and
the target that it has all of it.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable

from csnode.contracts.compute import Compute
from csnode.contracts.storage import Storage
from csnode.faults import Conflict, Full, Invalid, Refused, Stale, Unavailable
from csnode.log import logger
from csnode.model.fit import need_of, reaches, reservation
from csnode.model.host import Host, StoragePool
from csnode.model.machine import Disk, Move
from csnode.model.offering import Offering
from csnode.model.orders import MigrateVm
from csnode.model.room import BYTES, moves_of
from csnode.model.telling import domain_of
from csnode.model.vm import Vm
from csnode.model.volume import Volume
from csnode.saga.saga import step
from csnode.types import HostId, PoolId, Power, Struct, VolumeId
from roles.orchestrator.machine import PLACE_TRIES, MachineSaga
from roles.orchestrator.networks import can_be_asked, can_drop, is_there

log = logger("orchestrator")


class Way(Struct):
    """From where it moves, and to where."""

    source: HostId
    target: HostId


class Spot(Struct):
    """Where a disk is, and where the target will open it: the same pool if both reach it."""

    volume: VolumeId
    source: PoolId
    target: PoolId

    @property
    def moves(self) -> bool:
        return self.source != self.target


class Migrate(MachineSaga[MigrateVm]):
    """Ends with the machine on one host, running unless its guest halted meanwhile."""

    event = "VM.MIGRATE"

    @step
    async def way(self) -> Way:
        """Take the target's capacity, and say that a domain may be there from now on."""
        full: frozenset[str] = frozenset()
        volumes = await self.volumes()
        for _ in range(PLACE_TRIES):
            vm = await self.vm()
            if vm.host is None or vm.power is not Power.ON:
                raise Conflict(f"machine {vm.name} does not run, so it cannot be migrated")
            if vm.moving_to is not None:
                return Way(source=vm.host, target=vm.moving_to)
            target = await self._target(vm, volumes, full)
            await self._clear({target} & {*vm.maybe_on})  # of an earlier doubt
            try:
                await self.count_at(vm, target, moving_to=target, maybe_on=_with(vm, target))
            except Stale:
                continue
            except Full:
                full |= {target}
                continue
            return Way(source=vm.host, target=target)
        raise Full("No host can take this machine: all that could were filled by others meanwhile")

    @way.undo
    async def free_target(self) -> None:
        """Free the target, unless the machine has moved: the undo of that has said so."""
        vm = await self.vm()
        if vm.moving_to is not None:
            self.change.uncount(vm.moving_to, reservation(vm))
            maybe_on = _without(vm, vm.moving_to)
            self.change.update(Vm, vm.id, moving_to=None, maybe_on=maybe_on)

    @step
    async def spots(self) -> tuple[Spot, ...]:
        """Decide once where copies go: a copy in another pool than this would never be found."""
        found: list[Spot] = []
        for volume in await self.volumes():
            if volume.pool is None:
                raise Conflict(f"volume {volume.name} is in no pool")
            target = await self._pool_of(volume, volume.pool)
            found.append(Spot(volume=VolumeId(volume.id), source=volume.pool, target=target))
            if target != volume.pool:
                self.want(self.change, volume)
                self.promise(self.change, volume, target)
        return tuple(found)

    @spots.undo
    async def free_room(self) -> None:
        """Free the room in pools that were to have a copy, if the machine has not moved."""
        volumes = {volume.id: volume for volume in await self.volumes()}
        for spot in moves_of(self.job):
            volume = volumes[spot["volume"]]
            if volume.pool != spot["target"]:
                self.change.count(spot["target"], {BYTES: -volume.size})

    @step
    async def disks(self) -> tuple[Disk, ...]:
        """Give every disk a file that the target can open; what it lacks is copied on the way."""
        volumes = {volume.id: volume for volume in await self.volumes()}
        disks: list[Disk] = []
        for spot in self.spots:
            volume = volumes[spot.volume]
            clone = await self.clone_of(volume)
            made = await self.ask(Storage, at=spot.target).ensure_volume(clone)
            disks.append(self.disk_of(volume, made, spot.target))
        return tuple(disks)

    @disks.undo
    async def drop_copies(self) -> None:
        """Drop the copies; one whose disk's own pool is off may be the last: it is set aside.

        The sweep of its pool would take many of them for a sign that the records are wrong.
        """
        for spot in await self._left_behind():
            if not await can_drop(self, StoragePool, spot.pool, spot.volume):
                continue
            storage = self.ask(Storage, at=spot.pool)
            if await self._can_be_read(spot):
                await storage.ensure_no_volume(spot.volume)
            else:
                await storage.set_aside(spot.volume)

    @step
    async def power(self) -> Power:
        """Move the machine, plugs first at each try: a bridge without plugs may be swept away."""
        vm, way = await self.vm(), self.way
        target = self.ask(Compute, at=way.target)
        landing = await target.ensure_expected(self.order.vm)
        host = await self.store.get(Host, way.target)
        move = Move(
            domain=domain_of(vm, self.disks, await self.ensure_plugs(way.target)),
            host=way.target,
            address=host.address,
            copied=tuple(spot.volume for spot in self.spots if spot.moves),
            landing=landing,
        )
        source = self.ask(Compute, at=way.source)
        while (left := await source.ensure_moved(move)) is Power.ON:
            pass  # it waits a while before it answers so
        if left is Power.OFF:
            raise Conflict(f"machine {vm.name} halted by itself, so it stays where it was")
        power = await target.ensure_arrived(self.order.vm)
        if power is Power.ABSENT:
            raise Refused(f"machine {vm.name} is on neither host any more")
        return power

    @power.undo
    async def stay(self) -> None:
        """Keep it where it is, and only there. Waits until that is known."""
        vm = await self.vm()
        if vm.moving_to is None or vm.host is None:
            return
        source, target = vm.host, vm.moving_to
        left = await self._at(source, lambda host: host.cancel_move(self.order.vm, False))
        there = await self._at(target, lambda host: host.ensure_arrived(self.order.vm))
        here = left not in (None, Power.ABSENT)
        if has_moved(left, there):
            if here:  # it broke in the last moment: the source gave it away
                await self.ask(Compute, at=source).ensure_absent(self.order.vm)
            await self._settle(vm, source, target)
            return
        if there is not None:
            await self.ask(Compute, at=target).ensure_absent(self.order.vm)
        if here:
            await self.ask(Compute, at=source).cancel_move(self.order.vm, True)

    @step
    async def home(self) -> None:
        """Write where the machine is: host, disks and capacity change at one moment."""
        vm = await self.vm()
        if vm.host is not None and vm.moving_to is not None:
            await self._settle(vm, vm.host, vm.moving_to)

    @step
    async def remains(self) -> None:
        """Remove copies in pools of the source; one that does not answer sweeps them itself."""
        for spot in await self._left_behind():
            try:
                if await can_drop(self, StoragePool, spot.pool, spot.volume):
                    await self.ask(Storage, at=spot.pool).ensure_no_volume(spot.volume)
            except Unavailable as fault:
                log.warning("copy left", volume=spot.volume, pool=spot.pool, why=fault.message)

    # -- where to --------------------------------------------------------------------------

    async def _target(self, vm: Vm, volumes: list[Volume], full: frozenset[str]) -> HostId:
        """Choose a host that reaches all its disks where they are, or one they can be copied to."""
        offering = await self.store.get(Offering, vm.offering)
        await self.view.fresh()
        source = self.view.get(Host, vm.host or "")
        pools = [self.order.pools.get(v.id, v.pool) for v in volumes]
        near = self.reach([pool for pool in pools if pool is not None])
        far = self.reach([*self.order.pools.values()])
        if self.order.host is not None:
            near = far = far & {self.order.host}

        def choose(only: frozenset[str]) -> HostId:
            return self.placed(need_of(vm, offering, only, full, source.id, source.hypervisor))

        try:
            return choose(near)
        except Full:
            return choose(far)

    async def _pool_of(self, volume: Volume, now: PoolId) -> PoolId:
        """Return where the target will open the disk."""
        target = self.way.target
        wanted = self.order.pools.get(volume.id)
        at = self.view.get(StoragePool, wanted or now)
        if at.enabled and reaches(at, target):
            return PoolId(at.id)
        if wanted is not None:
            raise Invalid(f"host {self.view.get(Host, target).name} does not reach pool {at.name}")
        return await self.pool_for(target, volume)

    # -- where it is -----------------------------------------------------------------------

    async def _at(
        self, host: HostId, asking: Callable[[Compute], Awaitable[Power]]
    ) -> Power | None:
        """Return what the host says of it; None of one that is proven off: nothing runs there."""
        if not await can_be_asked(self, host):
            return None
        return await asking(self.ask(Compute, at=host))

    async def _settle(self, vm: Vm, source: HostId, target: HostId) -> None:
        """Settle the move, with the step's record.

        What was the target is its host, and nothing is elsewhere.
        """
        self.change.update(
            Vm, vm.id, host=target, last_host=source, moving_to=None,
            maybe_on=_without(vm, source),
        )  # fmt: skip
        self.change.uncount(source, reservation(vm))
        volumes = {volume.id: volume for volume in await self.volumes()}
        for spot in self.spots:
            if spot.moves:
                self.change.update(Volume, spot.volume, pool=spot.target, ready=True)
                self.change.count(spot.source, {BYTES: -volumes[spot.volume].size})

    async def _left_behind(self) -> list[Copy]:
        """Find, of disks that have two copies, those in the pool that is not their volume's."""
        pools = {volume.id: volume.pool for volume in await self.volumes()}
        return [
            Copy(volume=spot.volume, pool=pool)
            for spot in self.spots
            if spot.moves
            for pool in (spot.source, spot.target)
            if pool != pools.get(spot.volume)
        ]

    async def _can_be_read(self, copy: Copy) -> bool:
        """Tell whether the disk of which this is a copy is in a pool that can be asked."""
        volume = await self.store.get(Volume, copy.volume)
        return volume.pool is None or await is_there(self, StoragePool, volume.pool)


def has_moved(left: Power | None, there: Power | None) -> bool:
    """Tell whether it is where it was to go, by what source and target say; None: is proven off.

    A source that has nothing of it gave it away, so what its guest wrote since is in the copy.
    """
    if there is None:
        return left is Power.ABSENT
    return there is Power.ON or (there is Power.OFF and left in (None, Power.ABSENT))


class Copy(Struct):
    """A disk's bytes in a pool that is not to have them."""

    volume: VolumeId
    pool: PoolId


def _with(vm: Vm, host: HostId) -> tuple[HostId, ...]:
    """Return where a domain of it may be, if it may be on that host too."""
    return (*_without(vm, host), host)


def _without(vm: Vm, host: HostId) -> tuple[HostId, ...]:
    return tuple(other for other in vm.maybe_on if other != host)
