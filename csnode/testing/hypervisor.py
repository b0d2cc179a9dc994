"""The rules of csnode.drivers.hypervisor, as tests. Subclass the suite for each driver."""

from __future__ import annotations

import asyncio
from abc import ABC, abstractmethod
from collections.abc import AsyncIterator

from msgspec.structs import replace

from csnode.drivers.hypervisor import Hypervisor, Sighting
from csnode.faults import Conflict, Invalid, NotFound, Refused
from csnode.model.machine import Domain, FoundDomain, Move
from csnode.types import HostId, Power, VmId, VolumeId
from csnode.uuids import id_of

CONSOLE_BYTES = 64 * 1024
WITHIN_S = 60.0  # a deadline, so that what never happens fails; nothing here is timed


def tiny(name: str) -> Domain:
    """Return a machine with neither disk nor card: it starts, and stays on until it is ended."""
    return Domain(
        vm=VmId(id_of("suite", "vm", name)),
        name=f"i-2-{name}-VM",
        title=f"machine {name}",
        cpus=1,
        cpu_mhz=500,
        memory_mib=32,
        disks=(),
        plugs=(),
    )


ONE, TWO = tiny("1"), tiny("2")
HOSTILE = "</title><devices/>'\"&amp;\n\x00\x1b[2J$(reboot);`id` \u202e ]]> " + "x" * 5000


async def sees(watching: AsyncIterator[Sighting], vm: VmId, power: Power) -> None:
    """Wait until the watcher sees that machine in that power."""
    async with asyncio.timeout(WITHIN_S):
        async for sighting in watching:
            if (sighting.vm, sighting.power) == (vm, power):
                return
    raise AssertionError(f"the watch ended, and {vm} was never seen {power}")


class HypervisorSuite(ABC):
    """What holds for every hypervisor."""

    @abstractmethod
    def make(self) -> Hypervisor:
        """Make a driver, to be entered, on a host with no machines; each time on the same host."""

    @abstractmethod
    async def whole(self, domain: Domain) -> Domain:
        """Return the domain with two disks, the second named first, and a card; it can be run."""

    @abstractmethod
    def make_peer(self) -> Hypervisor:
        """Return a driver of another host, to which the first one's machines can be moved."""

    @abstractmethod
    def make_slow(self) -> Hypervisor:
        """Make a driver as `make` does; moving a heavy machine takes some time."""

    @abstractmethod
    async def heavy(self, domain: Domain) -> tuple[Domain, Domain, tuple[VolumeId, ...]]:
        """Return the domain, heavy: on the host, on its peer, and which of its disks are copied."""

    async def test_a_host_says_what_it_is(self) -> None:
        async with self.make() as hypervisor:
            facts = await hypervisor.describe()
            assert (facts.name, facts.address) == (hypervisor.seat.name, hypervisor.seat.address)
            assert facts.hypervisor
            assert min(facts.cpus, facts.cpu_mhz, facts.memory_mib) > 0

    async def test_asking_twice_is_asking_once(self) -> None:
        async with self.make() as hypervisor:
            assert await hypervisor.ensure_running(ONE) is Power.ON
            assert await hypervisor.ensure_running(ONE) is Power.ON
            assert await hypervisor.survey() == {ONE.vm: Power.ON}

    async def test_asking_twice_at_the_same_time_is_asking_once(self) -> None:
        async with self.make() as hypervisor:
            both = await asyncio.gather(*(hypervisor.ensure_running(ONE) for _ in range(2)))
            assert both == [Power.ON, Power.ON]
            assert await hypervisor.survey() == {ONE.vm: Power.ON}

    async def test_an_absent_machine_may_be_removed(self) -> None:
        async with self.make() as hypervisor:
            await hypervisor.ensure_absent(ONE.vm)
            assert await hypervisor.survey() == {}

    async def test_an_absent_machine_is_not_off_but_absent(self) -> None:
        async with self.make() as hypervisor:
            assert await hypervisor.ensure_off(ONE.vm, False) is Power.ABSENT
            assert await hypervisor.ensure_off(ONE.vm, True) is Power.ABSENT

    async def test_nothing_is_left_of_a_removed_machine(self) -> None:
        async with self.make() as hypervisor:
            await hypervisor.ensure_running(ONE)
            await hypervisor.ensure_absent(ONE.vm)
            await hypervisor.ensure_absent(ONE.vm)
            assert await hypervisor.survey() == {}
            assert await _has_no_console(hypervisor, ONE.vm)

    async def test_a_machine_that_was_ended_runs_again(self) -> None:
        async with self.make() as hypervisor:
            await hypervisor.ensure_running(ONE)
            assert await hypervisor.ensure_off(ONE.vm, True) is Power.OFF
            assert await hypervisor.survey() == {ONE.vm: Power.OFF}
            assert await hypervisor.ensure_off(ONE.vm, True) is Power.OFF
            assert await hypervisor.ensure_running(ONE) is Power.ON
            assert await hypervisor.survey() == {ONE.vm: Power.ON}

    async def test_a_machine_goes_off_even_if_its_guest_does_not_listen(self) -> None:
        async with self.make() as hypervisor:
            await hypervisor.ensure_running(ONE)
            assert await hypervisor.ensure_off(ONE.vm, False) is Power.OFF
            assert await hypervisor.survey() == {ONE.vm: Power.OFF}

    async def test_a_running_machine_reboots(self) -> None:
        async with self.make() as hypervisor:
            await hypervisor.ensure_running(ONE)
            assert await hypervisor.reboot(ONE.vm, True) is Power.ON
            assert await hypervisor.reboot(ONE.vm, False) is Power.ON
            assert await hypervisor.survey() == {ONE.vm: Power.ON}

    async def test_a_machine_that_does_not_run_cannot_reboot(self) -> None:
        async with self.make() as hypervisor:
            assert await _is_refused_a_reboot(hypervisor, ONE.vm)
            await hypervisor.ensure_running(ONE)
            await hypervisor.ensure_off(ONE.vm, True)
            assert await _is_refused_a_reboot(hypervisor, ONE.vm)
            assert await hypervisor.survey() == {ONE.vm: Power.OFF}

    async def test_machines_are_apart(self) -> None:
        async with self.make() as hypervisor:
            await asyncio.gather(*(hypervisor.ensure_running(each) for each in (ONE, TWO)))
            await hypervisor.ensure_off(ONE.vm, True)
            assert await hypervisor.survey() == {ONE.vm: Power.OFF, TWO.vm: Power.ON}
            await hypervisor.ensure_absent(ONE.vm)
            assert await hypervisor.survey() == {TWO.vm: Power.ON}

    async def test_machines_outlive_the_driver(self) -> None:
        async with self.make() as before:
            await before.ensure_running(ONE)
        async with self.make() as after:
            assert await after.survey() == {ONE.vm: Power.ON}
            assert await after.ensure_running(ONE) is Power.ON
            assert await after.ensure_off(ONE.vm, True) is Power.OFF

    async def test_a_look_inside_finds_each_machine_with_its_parts(self) -> None:
        async with self.make() as hypervisor:
            assert await hypervisor.inspect() == ()
            whole = await self.whole(ONE)
            await hypervisor.ensure_running(whole)
            await hypervisor.ensure_running(TWO)
            await hypervisor.ensure_off(TWO.vm, True)
            expected = (_found(whole, Power.ON), _found(TWO, Power.OFF))
            assert await hypervisor.inspect() == tuple(sorted(expected, key=lambda each: each.vm))
            await hypervisor.ensure_off(ONE.vm, True)
            assert _found(whole, Power.OFF) in await hypervisor.inspect()
            await hypervisor.ensure_absent(ONE.vm)
            assert await hypervisor.inspect() == (_found(TWO, Power.OFF),)

    async def test_a_watcher_sees_each_change(self) -> None:
        async with self.make() as hypervisor:
            watching = hypervisor.watch()
            await hypervisor.ensure_running(ONE)
            await sees(watching, ONE.vm, Power.ON)
            await hypervisor.ensure_off(ONE.vm, True)
            await sees(watching, ONE.vm, Power.OFF)
            await hypervisor.ensure_absent(ONE.vm)
            await sees(watching, ONE.vm, Power.ABSENT)

    async def test_a_watch_ends_when_the_driver_is_left(self) -> None:
        async with self.make() as hypervisor:
            watching = hypervisor.watch()
        async with asyncio.timeout(WITHIN_S):
            assert [sighting async for sighting in watching] == []

    # -- moves -----------------------------------------------------------------------------

    async def test_a_running_machine_moves(self) -> None:
        async with self.make() as here, self.make_peer() as there:
            await here.ensure_running(ONE)
            await here.ensure_running(TWO)
            assert await here.ensure_moved(await _to(there, ONE)) is Power.ABSENT
            assert await there.ensure_arrived(ONE.vm) is Power.ON
            assert await here.survey() == {TWO.vm: Power.ON}
            assert await there.survey() == {ONE.vm: Power.ON}
            assert await _has_no_console(here, ONE.vm)

    async def test_asking_for_a_move_twice_is_asking_once(self) -> None:
        async with self.make() as here, self.make_peer() as there:
            await here.ensure_running(ONE)
            move = await _to(there, ONE)
            both = await asyncio.gather(*(here.ensure_moved(move) for _ in range(2)))
            assert both == [Power.ABSENT, Power.ABSENT]
            assert await here.ensure_moved(move) is Power.ABSENT
            assert await there.survey() == {ONE.vm: Power.ON}
            assert await here.cancel_move(ONE.vm, False) is Power.ABSENT  # too late

    async def test_a_machine_moves_with_its_parts_and_there_it_obeys(self) -> None:
        async with self.make() as here, self.make_peer() as there:
            heavy, arriving, copied = await self.heavy(await self.whole(ONE))
            await here.ensure_running(heavy)
            assert await here.ensure_moved(await _to(there, arriving, copied)) is Power.ABSENT
            assert await there.inspect() == (_found(arriving, Power.ON),)
            assert await there.ensure_running(arriving) is Power.ON
            assert await there.ensure_off(ONE.vm, True) is Power.OFF
            assert await there.inspect() == (_found(arriving, Power.OFF),)
            await there.ensure_absent(ONE.vm)
            assert await there.survey() == {}

    async def test_a_machine_that_does_not_run_stays(self) -> None:
        async with self.make() as here, self.make_peer() as there:
            move = await _to(there, ONE)
            assert await here.ensure_moved(move) is Power.ABSENT
            await here.ensure_running(ONE)
            await here.ensure_off(ONE.vm, True)
            assert await here.ensure_moved(move) is Power.OFF
            assert await here.cancel_move(ONE.vm, True) is Power.OFF
            assert await here.survey() == {ONE.vm: Power.OFF}
            assert await there.survey() == {}

    async def test_a_move_that_is_cancelled_leaves_the_machine_running_where_it_was(self) -> None:
        async with self.make_slow() as here, self.make_peer() as there:
            heavy, arriving, copied = await self.heavy(await self.whole(ONE))
            await here.ensure_running(heavy)
            moving = asyncio.create_task(here.ensure_moved(await _to(there, arriving, copied)))
            while not moving.done():  # it may not have begun when it is cancelled first
                await asyncio.sleep(0.05)
                assert await here.cancel_move(ONE.vm, False) is Power.ON
            assert await _conflicts(moving)
            await there.ensure_absent(ONE.vm)
            assert await here.cancel_move(ONE.vm, True) is Power.ON
            assert await there.ensure_arrived(ONE.vm) is Power.ABSENT
            assert await here.inspect() == (_found(heavy, Power.ON),)
            assert await there.survey() == {}

    async def test_a_move_goes_on_though_whoever_asked_is_gone(self) -> None:
        async with self.make_slow() as dead, self.make_peer() as there:
            heavy, arriving, copied = await self.heavy(await self.whole(ONE))
            await dead.ensure_running(heavy)
            move = await _to(there, arriving, copied)
            asking = asyncio.create_task(dead.ensure_moved(move))
            await asyncio.sleep(0.1)
            asking.cancel()
            await asyncio.gather(asking, return_exceptions=True)
            async with self.make() as alive:
                assert await alive.ensure_moved(move) is Power.ABSENT
            assert await there.inspect() == (_found(arriving, Power.ON),)

    async def test_nothing_has_arrived_where_nothing_was_sent(self) -> None:
        async with self.make() as hypervisor:
            assert await hypervisor.ensure_arrived(ONE.vm) is Power.ABSENT
            assert await hypervisor.cancel_move(ONE.vm, True) is Power.ABSENT
            await hypervisor.ensure_running(ONE)
            assert await hypervisor.ensure_arrived(ONE.vm) is Power.ON
            assert await hypervisor.cancel_move(ONE.vm, True) is Power.ON

    async def test_a_console_is_never_more_than_its_tail(self) -> None:
        async with self.make() as hypervisor:
            assert await _has_no_console(hypervisor, ONE.vm)
            await hypervisor.ensure_running(ONE)
            assert len(await hypervisor.console(ONE.vm)) <= CONSOLE_BYTES

    async def test_a_hostile_title_is_a_title(self) -> None:
        async with self.make() as hypervisor:
            assert await hypervisor.ensure_running(replace(ONE, title=HOSTILE)) is Power.ON
            assert await hypervisor.survey() == {ONE.vm: Power.ON}

    async def test_half_a_machine_is_never_made(self) -> None:
        async with self.make() as hypervisor:
            try:
                await hypervisor.ensure_running(replace(ONE, cpus=0))
            except Invalid:
                assert await hypervisor.survey() == {}
            else:
                raise AssertionError("a machine without a CPU was started")


def _found(domain: Domain, power: Power) -> FoundDomain:
    """Return the machine as it should be found."""
    return FoundDomain(
        vm=domain.vm,
        power=power,
        disks=tuple(d.path for d in sorted(domain.disks, key=lambda d: d.device)),
        macs=tuple(plug.mac.lower() for plug in domain.plugs),
    )


async def _to(there: Hypervisor, domain: Domain, copied: tuple[VolumeId, ...] = ()) -> Move:
    """Return the move to a host that is told to expect it."""
    return Move(
        domain=domain,
        host=HostId(there.seat.id),
        address=there.seat.address,
        copied=copied,
        landing=await there.ensure_expected(domain.vm),
    )


async def _conflicts(moving: asyncio.Task[Power]) -> bool:
    try:
        await moving
    except Conflict:
        return True
    return False


async def _is_refused_a_reboot(hypervisor: Hypervisor, vm: VmId) -> bool:
    try:
        await hypervisor.reboot(vm, False)
    except Refused:
        return True
    return False


async def _has_no_console(hypervisor: Hypervisor, vm: VmId) -> bool:
    try:
        await hypervisor.console(vm)
    except NotFound:
        return True
    return False
