"""A real keeper, real guests, and a real file system that fails or hangs under one of them.

Each "pool" is a file system of its own on a loop device, or a plain folder beside it. It fails by
its mount being made read-only, and hangs by being frozen, as a hard NFS mount does whose server is
gone. No data service and no other role is there: this is what a host does that hears nobody.
"""

from __future__ import annotations

import asyncio
import shutil
import subprocess
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pytest
from msgspec.structs import replace

from csnode.drivers.driver import Seat
from csnode.drivers.leasehold import HostLease
from csnode.model.machine import Disk, Domain
from csnode.testing.hypervisor import ONE, TWO
from csnode.types import VolumeId
from csnode.uuids import id_of
from roles.compute.drivers.libvirt import LibvirtHypervisor
from roles.keeper.drivers.lease_files import PLACE
from roles.keeper.drivers.sector import unpacked
from tests.contract.libvirtd import PrivateLibvirtd
from tests.contract.test_hypervisors import GUEST
from tests.system.processes import Cloud, wait_for

pytestmark = pytest.mark.real
HOST = "box"
LEASE_S, STOP_S = 8.0, 3.0


def run(*command: str, check: bool = True) -> None:
    subprocess.run(command, check=check, capture_output=True, timeout=60)


@pytest.fixture
def folder() -> Iterator[Path]:
    made = Path(tempfile.mkdtemp(prefix="csnode-lease-"))
    made.chmod(0o755)
    try:
        yield made
    finally:
        shutil.rmtree(made, ignore_errors=True)


@pytest.fixture
def pools(folder: Path) -> Iterator[tuple[Path, Path]]:
    """One that can be broken, and one that cannot."""
    broken, whole, image = folder / "broken", folder / "whole", folder / "image"
    broken.mkdir()
    whole.mkdir()
    run("truncate", "-s", "32M", str(image))
    run("mkfs.ext4", "-q", str(image))
    run("mount", "-o", "loop", str(image), str(broken))
    try:
        yield broken, whole
    finally:
        run("fsfreeze", "-u", str(broken), check=False)
        wait_for(lambda: not _umount(broken), 30, "nothing uses the pool any more")


def _umount(place: Path) -> int:
    done = subprocess.run(("umount", str(place)), check=False, capture_output=True, timeout=60)
    return done.returncode


BREAKS: dict[str, tuple[tuple[str, ...], tuple[str, ...]]] = {
    "fails": (("mount", "-o", "remount,bind,ro"), ("mount", "-o", "remount,bind,rw")),
    "hangs": (("fsfreeze", "-f"), ("fsfreeze", "-u")),
}


class Scene:
    """A host with a guest on each pool, and its keeper."""

    def __init__(
        self, folder: Path, pools: tuple[Path, Path], daemon: PrivateLibvirtd, stack: ExitStack
    ) -> None:
        self.pools, self.daemon = pools, daemon
        self.seat = Seat(id="h", name=HOST, address="", folder=str(folder / "consoles"))
        keeper: dict[str, Any] = {
            "pools": {"broken": str(pools[0]), "whole": str(pools[1])},
            "hypervisor_options": {"uri": daemon.uri, "kvm": "never"},
            "lease_seconds": LEASE_S,
            "stop_seconds": STOP_S,
        }
        self.cloud = stack.enter_context(Cloud(folder, keeper=keeper))
        cluster = _cluster(self.cloud)
        self.host = id_of(cluster, "host", HOST)
        self.guests = tuple(
            _guest(domain, pool) for domain, pool in zip((ONE, TWO), pools, strict=True)
        )

    async def start_guests(self) -> None:
        async with LibvirtHypervisor({"uri": self.daemon.uri, "kvm": "never"}, self.seat) as driver:
            for guest in self.guests:
                await driver.ensure_running(guest)

    def running(self) -> tuple[bool, ...]:
        """By their processes, whatever libvirt believes."""
        return tuple(self.daemon.alive(guest.name) for guest in self.guests)

    def lease(self, pool: int) -> HostLease | None:
        file = self.pools[pool] / PLACE / self.host
        return unpacked(file.read_bytes()) if file.exists() else None

    def moves(self, pool: int, times: int = 1) -> Callable[[], bool]:
        """Whether the lease was renewed so often since, by a keeper that guards."""
        before = self.lease(pool)
        count = before.count if before else 0

        def since() -> bool:
            lease = self.lease(pool)
            return lease is not None and lease.guarding and lease.count >= count + times

        return since


def _cluster(cloud: Cloud) -> str:
    line = next(at for at in cloud.file.read_text().splitlines() if at.startswith("cluster"))
    return line.split('"')[1]


def _guest(domain: Domain, pool: Path) -> Domain:
    """It prints, and waits for the power button; its disk is in the pool."""
    (pool / "volumes").mkdir(exist_ok=True)
    image = pool / "volumes" / f"{domain.name}.raw"
    image.write_bytes((GUEST + b"READY\r\n\0").ljust(510, b"\0") + b"\x55\xaa")
    with image.open("r+b") as file:
        file.truncate(2**21)
    disk = Disk(volume=VolumeId("boot"), path=str(image), format="raw")
    return replace(domain, disks=(disk,), plugs=())


@pytest.fixture
def scene(folder: Path, pools: tuple[Path, Path]) -> Iterator[Scene]:
    """libvirtd comes after the pools: what it has mounted, it has from its beginning."""
    with ExitStack() as stack:
        daemon = stack.enter_context(PrivateLibvirtd())
        made = Scene(folder, pools, daemon, stack)
        asyncio.run(made.start_guests())
        made.cloud.start("keeper")
        wait_for(made.moves(0), 30, "the keeper holds its lease")
        wait_for(made.moves(1), 30, "the keeper holds its other lease")
        assert made.running() == (True, True)
        stack.callback(run, "fsfreeze", "-u", str(pools[0]), check=False)
        yield made


@pytest.mark.parametrize("how", BREAKS)
def test_a_guest_whose_pool_is_lost_is_ended_and_a_guest_beside_it_runs_on(
    scene: Scene, how: str
) -> None:
    breaking, mending = BREAKS[how]
    run(*breaking, str(scene.pools[0]))
    began = time.monotonic()
    wait_for(lambda: scene.running() == (False, True), 30, "the guest is ended")
    print(f"pool {how}: its guest was gone after {time.monotonic() - began:.1f} s")
    run(*mending, str(scene.pools[0]))
    wait_for(scene.moves(0, 2), 30, "the lease is held again")
    asyncio.run(scene.start_guests())
    wait_for(scene.moves(0, 6), 60, "the lease is renewed for longer than it lasts")
    assert scene.running() == (True, True)


def test_a_keeper_that_is_killed_leaves_guests_alone_and_its_lease_standing(scene: Scene) -> None:
    scene.cloud.kill("keeper")
    last, other = scene.lease(0), scene.moves(1, 6)
    assert last is not None
    assert last.guarding
    scene.cloud.start("keeper")
    wait_for(other, 60, "the next one renews")
    assert scene.running() == (True, True)
    again = scene.lease(0)
    assert again is not None
    assert again.epoch != last.epoch


def test_a_keeper_that_leaves_in_good_order_says_that_it_guards_nothing(scene: Scene) -> None:
    process = scene.cloud.processes.pop("keeper")
    process.terminate()
    assert process.wait(30) == 0
    for pool in (0, 1):
        lease = scene.lease(pool)
        assert lease is not None
        assert not lease.guarding
    assert scene.running() == (True, True)


def test_a_keeper_started_with_a_lease_too_short_to_be_safe_says_why(scene: Scene) -> None:
    file = scene.cloud.file
    file.write_text(
        file.read_text().replace("stop_seconds = 3.0", "stop_seconds = 3.0\nstale_seconds = 12.0")
    )
    process = scene.cloud.start("keeper", name="second")
    assert process.wait(30) != 0
    assert "others must wait" in scene.cloud.log("second")
    del scene.cloud.processes["second"]
