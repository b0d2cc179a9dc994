"""A real guest moves between two libvirtds in network namespaces, and answers pings all the while.

Needs root, QEMU, libvirt, dnsmasq, ping and the guest image, all of which `make test` brings.
"""

from __future__ import annotations

import asyncio
import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Callable, Generator, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import msgspec
import pytest
from msgspec.structs import replace

from csnode.drivers.driver import Seat
from csnode.faults import Conflict, Unavailable
from csnode.model.machine import Disk, Domain, Move, Plug
from csnode.testing.patience import Patience, patient
from csnode.types import HostId, NicId, Power, VmId, VolumeId
from csnode.uuids import new_id
from roles.compute.drivers.libvirt import LibvirtHypervisor
from tests.contract.libvirtd import PrivateLibvirtd

pytestmark = pytest.mark.real
IMAGE = Path(__file__).parents[2] / ".cache" / "guest" / "tiny.qcow2"
NAMES = f"mig{os.getpid() % 0x1000:03x}"
SWITCH, BRIDGE, MAC = f"{NAMES}s", "br0", "02:00:00:77:00:10"
ROUTER, GUEST = "10.77.0.1", "10.77.0.10"
WITHIN_S = 60.0
SLOW_MIB_S, FAST_MIB_S = 1, 1024  # a move takes minutes; no time at all

ASKER = """\
import asyncio, sys, msgspec
from csnode.drivers.driver import Seat
from csnode.model.machine import Move
from roles.compute.drivers.libvirt import LibvirtHypervisor
async def ask():
    options, seat, move = sys.argv[1:]
    seat = msgspec.json.decode(seat, type=Seat)
    async with LibvirtHypervisor(msgspec.json.decode(options), seat) as source:
        await source.ensure_moved(msgspec.json.decode(move, type=Move))
asyncio.run(ask())
"""


def shell(words: str) -> str:
    done = subprocess.run(words.split(), capture_output=True, text=True, check=False, timeout=60)
    assert done.returncode == 0, f"{words}: {done.stderr}"
    return done.stdout


def certified(folder: Path, name: str, address: str) -> Path:
    """What an operator makes for libvirt and QEMU: a CA, and a certificate of the host's address.

    Answers the host's /etc/pki (https://libvirt.org/kbase/tlscerts.html).
    """
    ca, key = folder / "ca.pem", folder / "ca.key"
    fresh = "openssl req -x509 -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -days 2"
    if not ca.exists():
        shell(f"{fresh} -subj /CN=ca -keyout {key} -out {ca} -addext keyUsage=keyCertSign")
    own, own_key = folder / f"{name}.pem", folder / f"{name}.key"
    shell(
        f"{fresh} -subj /CN={name} -keyout {own_key} -out {own} -CA {ca} -CAkey {key}"
        f" -addext subjectAltName=IP:{address} -addext basicConstraints=critical,CA:FALSE"
        " -addext extendedKeyUsage=serverAuth,clientAuth"
    )
    pki = folder / f"pki-{name}"
    for part in ("CA", "libvirt/private", "qemu"):
        (pki / part).mkdir(parents=True)
    shutil.copy(ca, pki / "CA" / "cacert.pem")
    shutil.copy(ca, pki / "qemu" / "ca-cert.pem")
    for side in ("server", "client"):
        shutil.copy(own, pki / "libvirt" / f"{side}cert.pem")
        shutil.copy(own_key, pki / "libvirt" / "private" / f"{side}key.pem")
        shutil.copy(own, pki / "qemu" / f"{side}-cert.pem")
        shutil.copy(own_key, pki / "qemu" / f"{side}-key.pem")
    return pki


class HostLab:
    """A hypervisor host: a namespace with a bridge, and a libvirtd in it."""

    def __init__(self, name: str, address: str, folder: Path, peers: dict[str, str]) -> None:
        self.name, self.address = name, address
        self.netns = f"{NAMES}{name}"
        self.seat = Seat(id=name, name=name, address=address, folder=str(folder / name))
        others = {n: a for n, a in peers.items() if n != name}
        self.daemon = PrivateLibvirtd(name, self.netns, certified(folder, name, address), **others)
        self.pool = folder / f"pool-{name}"
        self.pool.mkdir()

    def options(self, mib_s: int = 0) -> dict[str, object]:
        return {
            "uri": self.daemon.uri, "kvm": "never", "stop_seconds": 1.0, "migrate_mib_s": mib_s,
        }  # fmt: skip

    def driver(self, mib_s: int = 0) -> LibvirtHypervisor:
        return LibvirtHypervisor(self.options(mib_s), self.seat)

    def overlay(self, folder: Path, volume: str) -> Disk:
        path = folder / f"{volume}.qcow2"
        shell(f"qemu-img create -q -f qcow2 -b {IMAGE} -F qcow2 {path}")
        return Disk(volume=VolumeId(volume), path=str(path))

    def is_sending(self, name: str) -> bool:
        """The domain is on its way to another host."""
        return "Unbounded" in self.daemon.tried("domjobinfo", name)


@contextmanager
def plugged(*hosts: HostLab) -> Generator[None]:
    """A switch with the hosts' bridges on it, and an address for the guest."""
    spaces = [SWITCH, *(host.netns for host in hosts)]
    server = None
    try:
        for space in spaces:
            shell(f"ip netns add {space}")
            shell(f"ip -n {space} link add {BRIDGE} type bridge")
            shell(f"ip -n {space} link set {BRIDGE} up")
            shell(f"ip -n {space} link set lo up")
        shell(f"ip -n {SWITCH} addr add {ROUTER}/24 dev {BRIDGE}")
        for host in hosts:
            port = f"p{host.name}"
            shell(f"ip -n {SWITCH} link add {port} type veth peer name up0 netns {host.netns}")
            for space, link in ((SWITCH, port), (host.netns, "up0")):
                shell(f"ip -n {space} link set {link} master {BRIDGE} up")
            shell(f"ip -n {host.netns} addr add {host.address}/24 dev {BRIDGE}")
        server = subprocess.Popen(
            f"ip netns exec {SWITCH} dnsmasq -k -C /dev/null --port=0 --leasefile-ro "
            f"--log-facility=- --interface={BRIDGE} --dhcp-range={GUEST},{GUEST} "
            f"--dhcp-host={MAC},{GUEST}".split(),
            stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
        )  # fmt: skip
        yield
    finally:
        if server is not None:
            server.kill()
            server.wait()
        for space in spaces:
            subprocess.run(["ip", "netns", "del", space], check=False, capture_output=True)


@pytest.fixture
def hosts() -> Iterator[tuple[HostLab, HostLab]]:
    folder = Path(tempfile.mkdtemp(prefix="csnode-migrate-"))
    peers = {"a": "10.77.0.2", "b": "10.77.0.3"}
    a, b = (HostLab(name, address, folder, peers) for name, address in peers.items())
    try:
        with plugged(a, b), a.daemon, b.daemon:
            yield a, b
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def answers() -> bool:
    words = f"ip netns exec {SWITCH} ping -q -c 1 -W {patient(1):.0f} {GUEST}".split()
    return subprocess.run(words, check=False, capture_output=True).returncode == 0


async def until(true: Callable[[], bool]) -> None:
    async with asyncio.timeout(patient(WITHIN_S)):
        while not await asyncio.to_thread(true):
            await asyncio.sleep(0.1)


async def way(to: HostLab, domain: Domain, copied: tuple[VolumeId, ...] = ()) -> Move:
    async with to.driver() as there:
        landing = await there.ensure_expected(domain.vm)
    return Move(
        domain=domain, host=HostId(to.name), address=to.address, copied=copied, landing=landing
    )


async def moved(source: LibvirtHypervisor, move: Move) -> Power:
    """Asked as a saga asks: again, while libvirtds that are busy hang up on each other."""
    patience = Patience(WITHIN_S)
    while not patience.over:
        with suppress(Unavailable):
            return await source.ensure_moved(move)
    return await source.ensure_moved(move)


async def answered_meanwhile(home: HostLab, source: LibvirtHypervisor, move: Move) -> None:
    """Its guest answers a ping from beginning to end while it moves; then it may make haste."""
    name = move.domain.name
    moving = asyncio.create_task(moved(source, move))

    def answers_on_its_way() -> bool:
        return home.is_sending(name) and answers() and home.is_sending(name)

    await until(answers_on_its_way)
    while (
        not moving.done()
    ):  # again: the pace it began with is told to QEMU once its disks are over
        await asyncio.to_thread(home.daemon.tried, "migrate-setspeed", name, f"{FAST_MIB_S}")
        await asyncio.wait((moving,), timeout=1)
    assert await moving is Power.ABSENT
    await until(answers)


async def where(hosts: tuple[HostLab, HostLab], vm: VmId) -> dict[str, Power]:
    """What each host says of it, if it has it at all."""
    found: dict[str, Power] = {}
    for host in hosts:
        async with host.driver() as hypervisor:
            if (power := await hypervisor.ensure_arrived(vm)) is not Power.ABSENT:
                found[host.name] = power
    return found


async def test_a_guest_answers_while_it_moves_there_and_back(
    hosts: tuple[HostLab, HostLab],
) -> None:
    a, b = hosts
    shared = replace(a.overlay(a.pool.parent, "shared"), shared=True)
    plug = Plug(nic=NicId("n"), mac=MAC, bridge=BRIDGE, mtu=1450)
    guest = Domain(
        vm=VmId(new_id()), name="i-2-77-VM", title="moves", cpus=1, cpu_mhz=1000, memory_mib=128,
        disks=(shared,), plugs=(plug,),
    )  # fmt: skip
    async with a.driver() as source:
        await source.ensure_running(guest)
        await until(answers)
    async with a.driver(mib_s=SLOW_MIB_S) as source:
        await answered_meanwhile(a, source, await way(b, guest))
    assert await where(hosts, guest.vm) == {"b": Power.ON}

    # the disk's own layer goes along: what it stands on is at both
    local = replace(guest, disks=(a.overlay(a.pool, "shared"),))
    async with b.driver(mib_s=SLOW_MIB_S) as source:
        await answered_meanwhile(b, source, await way(a, local, (VolumeId("shared"),)))
    assert await where(hosts, guest.vm) == {"a": Power.ON}

    await cancelled(a, replace(guest, disks=(b.overlay(b.pool, "shared"),)), b)
    assert await where(hosts, guest.vm) == {"a": Power.ON}
    await killed(a, b, replace(guest, disks=(b.overlay(b.pool, "again"),)))
    assert await where(hosts, guest.vm) == {"b": Power.ON}
    await until(answers)


async def cancelled(a: HostLab, guest: Domain, b: HostLab) -> None:
    """At 1 MiB/s it takes long enough; it goes on where it was."""
    async with a.driver(mib_s=1) as source, b.driver() as target:
        move = await way(b, guest, (VolumeId("shared"),))
        moving = asyncio.create_task(source.ensure_moved(move))
        await until(lambda: a.is_sending(guest.name))
        assert await source.cancel_move(guest.vm, False) is Power.ON
        with pytest.raises(Conflict, match="cancelled"):
            await moving
        await target.ensure_absent(guest.vm)
        assert await source.cancel_move(guest.vm, True) is Power.ON
        await until(answers)


def started(*words: str) -> subprocess.Popen[bytes]:
    return subprocess.Popen([sys.executable, "-c", ASKER, *words], stdout=subprocess.DEVNULL)


async def killed(a: HostLab, b: HostLab, guest: Domain) -> None:
    """The process that asked dies in the middle; the next one finds the move under way."""
    there = replace(guest, disks=(replace(guest.disks[0], volume=VolumeId("shared")),))
    move = await way(b, there, (VolumeId("shared"),))
    words = [msgspec.json.encode(x).decode() for x in (a.options(mib_s=8), a.seat, move)]
    asker = started(*words)
    try:
        await until(lambda: a.is_sending(guest.name))
    finally:
        asker.kill()
        asker.wait()
    async with a.driver() as source:
        assert await moved(source, move) is Power.ABSENT
