"""Leases in a pool: of simulation, and as files; and what only files can suffer."""

from __future__ import annotations

import asyncio
import errno
import os
import subprocess
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from csnode.drivers.driver import Seat
from csnode.drivers.leasehold import Leasehold
from csnode.faults import Invalid, NotFound, Refused, Unavailable
from csnode.testing.leasehold import ONE, TWO, LeaseholdSuite, Reach, lease
from csnode.types import HostId
from roles.keeper.drivers import device, sim_leases
from roles.keeper.drivers.device import DeviceWatchdog
from roles.keeper.drivers.hand import Hand
from roles.keeper.drivers.lease_files import PLACE, LeaseFiles
from roles.keeper.drivers.sector import SECTOR, packed, unpacked
from roles.keeper.drivers.sim_leases import SimLeasehold


def seat(host: HostId, folder: str) -> Seat:
    return Seat(id="pool", name="san", address=host, folder=folder)


class TestSimulated(LeaseholdSuite):
    @pytest.fixture
    def reach(self) -> Iterator[Reach]:
        SimLeasehold.forget_outside()
        yield lambda host: SimLeasehold({}, seat(host, "sim://san"))
        SimLeasehold.forget_outside()

    def lose(self, host: HostId) -> None:
        sim_leases.outside("pool").failing.add(host)


class TestFiles(LeaseholdSuite):
    @pytest.fixture
    def reach(self, tmp_path: Path) -> Reach:
        """Each host has a mount of its own of the one folder: here, a symbolic link to it."""
        self._mounts = {host: tmp_path / f"mnt-{host[:1]}" for host in (ONE, TWO)}
        (tmp_path / "pool").mkdir()
        for mount in self._mounts.values():
            mount.symlink_to(tmp_path / "pool")
        return lambda host: LeaseFiles({}, seat(host, str(self._mounts[host])))

    def lose(self, host: HostId) -> None:
        self._mounts[host].unlink()
        self._mounts[host].symlink_to("/dev/null")  # ENOTDIR


@pytest.fixture
def pool(tmp_path: Path) -> Path:
    made = tmp_path / "pool"
    made.mkdir()
    return made


def files(pool: Path, host: HostId = ONE) -> Leasehold:
    return LeaseFiles({}, seat(host, str(pool)))


def run(*words: str, check: bool = True) -> None:
    subprocess.run(words, check=check, capture_output=True)


def inside(folder: Path) -> list[str]:
    return os.listdir(folder)


# -- bytes -----------------------------------------------------------------------------------------


def test_a_lease_is_one_sector_and_damage_to_any_byte_of_it_shows() -> None:
    sector = packed(lease(12345))
    assert len(sector) == SECTOR
    assert unpacked(sector) == lease(12345)
    for at in range(SECTOR):
        damaged = bytearray(sector)
        damaged[at] ^= 0x40
        assert unpacked(bytes(damaged)) is None


def test_half_of_one_writing_and_half_of_the_next_is_torn() -> None:
    old, new = packed(lease(9_999_999)), packed(lease(10_000_000, guarding=False))
    for at in range(1, SECTOR):
        mixed = new[:at] + old[at:]
        assert unpacked(mixed) in (None, lease(9_999_999), lease(10_000_000, guarding=False))
    assert unpacked(b"") is None
    assert unpacked(bytes(SECTOR)) is None


async def test_a_torn_writing_is_told_of_by_its_mark_alone(pool: Path) -> None:
    async with files(pool) as here, files(pool, TWO) as there:
        await here.write(lease(1))
        whole = await there.read(ONE)
        at = pool / PLACE / ONE
        at.write_bytes(at.read_bytes()[:300])
        torn = await there.read(ONE)
        assert torn.lease is None
        assert torn.mark != whole.mark


# -- files -----------------------------------------------------------------------------------------


async def test_a_writing_replaces_the_one_before_in_place(pool: Path) -> None:
    async with files(pool) as here:
        await here.write(lease(1))
        before = (pool / PLACE / ONE).stat()
        await here.write(lease(2))
        after = (pool / PLACE / ONE).stat()
        assert (after.st_ino, after.st_size) == (before.st_ino, SECTOR)


async def test_a_pool_that_is_not_there_is_never_made(pool: Path) -> None:
    gone = pool / "gone"
    async with files(gone) as here:
        with pytest.raises(Unavailable):
            await here.write(lease(1))
    assert not inside(pool)


async def test_ids_that_lead_out_of_the_folder_are_no_hosts(pool: Path) -> None:
    async with files(pool) as here:
        await here.write(lease(1))
        (pool / "secret").write_bytes(b"secret")
        with pytest.raises(NotFound):
            await here.read(HostId("../../secret"))


def test_a_relative_folder_is_refused() -> None:
    with pytest.raises(Invalid):
        LeaseFiles({}, seat(ONE, "pool"))


async def test_a_folder_that_lost_its_mount_is_not_the_pool(pool: Path) -> None:
    """What would be written there, no other host would read."""
    run("mount", "-t", "tmpfs", "csnode-lease", str(pool))
    try:
        async with files(pool) as here:
            await here.write(lease(1))
            run("umount", str(pool))
            for _ in range(3):
                with pytest.raises(Unavailable, match="another file system"):
                    await here.write(lease(2))
            assert not inside(pool)
            here.anew()  # nothing runs that has disks there
            await here.write(lease(3))
            assert (await here.read(ONE)).lease == lease(3)
    finally:
        run("umount", str(pool), check=False)


async def test_a_read_only_pool_is_unavailable_for_writing_and_can_be_read(pool: Path) -> None:
    run("mount", "-t", "tmpfs", "csnode-lease", str(pool))
    try:
        async with files(pool) as here:
            await here.write(lease(1))
            run("mount", "-o", "remount,ro", str(pool))
            with pytest.raises(Unavailable, match=os.strerror(errno.EROFS)):
                await here.write(lease(2))
            assert (await here.read(ONE)).lease == lease(1)
    finally:
        run("umount", str(pool))


async def test_a_thread_that_hangs_holds_up_neither_loop_nor_end() -> None:
    hand, other, hanging = Hand("test-a"), Hand("test-b"), threading.Event()
    stuck = asyncio.create_task(hand.do(hanging.wait))
    after = asyncio.create_task(hand.do(lambda: 2))
    assert await other.do(lambda: 1) == 1
    assert not stuck.done()
    assert not after.done()
    hanging.set()
    assert (await stuck, await after) == (True, 2)
    for each in (hand, other):
        each.rest()


# -- the watchdog ----------------------------------------------------------------------------------


class Dogged(DeviceWatchdog):
    """A file in the device's place: it takes the bytes, and no ioctl, so that one is stood for."""

    def _set_timeout(self, fd: int, seconds: int) -> int:
        return seconds + 1


def place(device: Path) -> Seat:
    return Seat(id=ONE, name="h", address="", folder=str(device))


async def test_a_watchdog_hears_signs_of_life_and_a_goodbye(tmp_path: Path) -> None:
    file = tmp_path / "watchdog"
    file.touch()
    async with Dogged({"seconds": 10}, place(file)) as dog:
        assert dog.seconds == 11.0
        dog.pet()
        dog.pet()
        assert file.read_bytes() == b"\0\0"
    assert file.read_bytes() == b"\0\0V"


async def test_a_keeper_that_falls_does_not_disarm_its_watchdog(tmp_path: Path) -> None:
    file = tmp_path / "watchdog"
    file.touch()
    dog = await Dogged({}, place(file)).__aenter__()
    dog.pet()
    await dog.__aexit__(RuntimeError, RuntimeError("it falls"), None)
    assert file.read_bytes() == b"\0"


async def test_what_is_no_watchdog_is_refused(tmp_path: Path) -> None:
    file = tmp_path / "watchdog"
    with pytest.raises(Refused, match="no watchdog at"):
        await DeviceWatchdog({}, place(file)).__aenter__()
    file.touch()
    with pytest.raises(Refused, match="cannot be told its time"):
        await DeviceWatchdog({}, place(file)).__aenter__()
    assert file.read_bytes() == device.GOODBYE
