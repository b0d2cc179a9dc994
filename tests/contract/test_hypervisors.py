"""Every hypervisor driver passes its suite; libvirt also stands what may happen to it."""

from __future__ import annotations

import asyncio
import os
import subprocess
from collections.abc import Awaitable, Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from msgspec.structs import replace

from csnode import uuids
from csnode.drivers.driver import Seat
from csnode.drivers.hypervisor import Hypervisor
from csnode.faults import Fault, Invalid, Refused, Unavailable
from csnode.model.machine import Disk, Domain, Plug
from csnode.testing.hypervisor import ONE, TWO, WITHIN_S, HypervisorSuite, sees
from csnode.types import NicId, Power, VmId, VolumeId
from roles.compute.drivers import sim
from roles.compute.drivers.console_log import ConsoleLogs
from roles.compute.drivers.libvirt import LibvirtHypervisor
from roles.compute.drivers.sim import SimHypervisor
from tests.contract.libvirtd import PrivateLibvirtd

STOP_S = 1.0

# Real-mode code: print the text at 0x2f on the first serial port, then wait for the power button
# (PM1a event block, 0x600 on q35) and switch the machine off (PM1a control block, 0x604).
GUEST = bytes.fromhex(
    "31c0 8ed8 be2f7c ac 84c0 7406 baf803 ee ebf5 ba0206 b80001 ef ba0006 fb f4 ed f6c401 74f8"
    "ef ba0406 b80020 ef f4 ebfd"
)
HALTS_AT_ONCE = GUEST[:0x0B] + b"\x19" + GUEST[0x0C:]  # skips the wait


def with_parts(domain: Domain, paths: tuple[str, str], bridge: str) -> Domain:
    """Its second disk comes first in the list; the card's address is in capital letters."""
    data, root = (
        Disk(volume=VolumeId(f"v{device}"), path=path, device=device)
        for device, path in zip((1, 0), paths, strict=True)
    )
    plug = Plug(nic=NicId("n"), mac="02:00:00:00:AB:01", bridge=bridge)
    return replace(domain, disks=(data, root), plugs=(plug,))


class TestSim(HypervisorSuite):
    @pytest.fixture(autouse=True)
    def fresh(self) -> Iterator[None]:
        sim.forget_all()
        yield
        sim.forget_all()

    def make(self, **options: Any) -> Hypervisor:
        return SimHypervisor(options, Seat(id="h1", name="h1", address="192.0.2.1", folder=""))

    def make_peer(self) -> Hypervisor:
        return SimHypervisor({}, Seat(id="h2", name="h2", address="192.0.2.2", folder=""))

    def make_slow(self) -> Hypervisor:
        return self.make(move_s=0.3)

    async def heavy(self, domain: Domain) -> tuple[Domain, Domain, tuple[VolumeId, ...]]:
        there = replace(domain, disks=tuple(replace(d, path=f"/2{d.path}") for d in domain.disks))
        return domain, there, tuple(disk.volume for disk in domain.disks)

    async def test_a_watcher_sees_a_guest_halt_by_itself(self) -> None:
        async with self.make() as hypervisor:
            watching = hypervisor.watch()
            await hypervisor.ensure_running(ONE)
            sim.outside("h1").halt(ONE.vm)
            await sees(watching, ONE.vm, Power.OFF)

    async def whole(self, domain: Domain) -> Domain:
        return with_parts(domain, ("/p/data.qcow2", "/p/root.qcow2"), "simbr")

    async def test_a_verb_is_done_though_its_process_is_gone(self) -> None:
        async with self.make(latency_s=0.05) as dead:
            asking = asyncio.create_task(dead.ensure_running(ONE))
            await asyncio.sleep(0)
            asking.cancel()
            assert await asyncio.gather(asking, return_exceptions=True) != [Power.ON]
        async with self.make() as alive:
            watching = alive.watch()
            assert await alive.survey() == {}
            await sees(watching, ONE.vm, Power.ON)
            assert await alive.survey() == {ONE.vm: Power.ON}

    async def test_the_host_does_one_thing_at_a_time_for_each_machine(self) -> None:
        async with self.make(latency_s=0.05) as slow, self.make() as quick:
            asking = asyncio.create_task(slow.ensure_running(ONE))
            await asyncio.sleep(0)
            assert await quick.ensure_running(TWO) is Power.ON  # its own affair
            assert await quick.survey() == {TWO.vm: Power.ON}
            await quick.ensure_absent(ONE.vm)  # it comes second, as it was asked second
            assert await asking is Power.ON
            assert await quick.survey() == {TWO.vm: Power.ON}

    async def test_a_console_says_ready(self) -> None:
        async with self.make() as hypervisor:
            await hypervisor.ensure_running(ONE)
            assert b"READY" in await hypervisor.console(ONE.vm)

    @pytest.mark.parametrize("fault", ["Refused", "Unavailable"])
    async def test_the_verbs_named_fail_and_change_nothing(self, fault: str) -> None:
        failing = {"fail": 1.0, "fail_verbs": ["ensure_running"], "fault": fault}
        async with self.make(**failing) as hypervisor:
            with pytest.raises(Fault) as raised:
                await hypervisor.ensure_running(ONE)
            assert type(raised.value).__name__ == fault
            assert await hypervisor.survey() == {}
            assert await hypervisor.ensure_off(ONE.vm, True) is Power.ABSENT

    async def test_the_same_seed_fails_the_same_verbs(
        self, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        async def story() -> list[bool]:
            monkeypatch.setattr(uuids, "source", uuids.random.Random(7))
            async with self.make(fail=0.5) as hypervisor:
                return [await _fails(hypervisor.ensure_absent(ONE.vm)) for _ in range(30)]

        first = await story()
        assert first == await story()
        assert set(first) == {True, False}

    @pytest.mark.parametrize("options", [{"cpu": 4}, {"fail": 2.0}, {"fail_verbs": ["dance"]}])
    def test_a_wrong_option_is_named(self, options: dict[str, Any]) -> None:
        with pytest.raises(Invalid, match="options of driver SimHypervisor"):
            self.make(**options)


@pytest.fixture(scope="module")
def private_libvirtd() -> Iterator[PrivateLibvirtd]:
    with PrivateLibvirtd() as daemon:
        yield daemon


@pytest.fixture(scope="module")
def peer_libvirtd() -> Iterator[PrivateLibvirtd]:
    with PrivateLibvirtd("csnode-peer") as daemon:
        yield daemon


@pytest.mark.real
class TestLibvirt(HypervisorSuite):
    @pytest.fixture(autouse=True)
    def clean(
        self,
        private_libvirtd: PrivateLibvirtd,
        peer_libvirtd: PrivateLibvirtd,
        tmp_path: Path,
    ) -> Iterator[None]:
        self.daemon, self.peer, self.folder = private_libvirtd, peer_libvirtd, tmp_path
        self.bridges: list[str] = []
        yield
        for daemon in (private_libvirtd, peer_libvirtd):
            daemon.clear()
        for bridge in self.bridges:
            subprocess.run(["ip", "link", "del", bridge], check=True)

    def make(self, **options: Any) -> Hypervisor:
        return self.on("h1", self.daemon, self.peer, **options)

    def make_peer(self) -> Hypervisor:
        return self.on("h2", self.peer, self.daemon)

    def make_slow(self) -> Hypervisor:
        return self.make(migrate_mib_s=4)

    def on(
        self, host: str, daemon: PrivateLibvirtd, peer: PrivateLibvirtd, **options: Any
    ) -> Hypervisor:
        """The two speak to each other over their sockets, and no certificate is at hand."""
        state = "state" if host == "h1" else f"state-{host}"
        seat = Seat(id=host, name=host, address="127.0.0.1", folder=str(self.folder / state))
        ours = {"uri": daemon.uri, "stop_seconds": STOP_S, "kvm": "never"}
        way = {"migrate_uri": peer.uri, "migrate_tls": False}
        return LibvirtHypervisor(ours | way | options, seat)

    async def heavy(self, domain: Domain) -> tuple[Domain, Domain, tuple[VolumeId, ...]]:
        """A disk of random bytes goes along; the other one is the same file for both."""
        data, root = domain.disks
        (self.folder / "root.raw").write_bytes(os.urandom(8 << 20))
        path = self.folder / "root-there.raw"
        path.touch()
        os.truncate(path, 8 << 20)
        there = replace(domain, disks=(data, replace(root, path=str(path))))
        return domain, there, (root.volume,)

    async def whole(self, domain: Domain) -> Domain:
        bridge = f"tcs{os.getpid() % 0x10000:04x}"
        await _ip("link", "add", bridge, "type", "bridge")
        self.bridges.append(bridge)
        paths = [self.folder / name for name in ("data.raw", "root.raw")]
        for path in paths:
            path.touch()
            os.truncate(path, 2**21)
        raw = with_parts(domain, (str(paths[0]), str(paths[1])), bridge)
        return replace(raw, disks=tuple(replace(disk, format="raw") for disk in raw.disks))

    def booting(self, code: bytes, text: bytes = b"READY\r\n") -> Domain:
        """A machine with a boot sector for a guest."""
        image = self.folder / "boot.raw"
        image.write_bytes((code + text + b"\0").ljust(510, b"\0") + b"\x55\xaa")
        os.truncate(image, 2**21)  # the firmware reads no disk smaller than a cylinder
        disk = Disk(volume=VolumeId("boot"), path=str(image), format="raw")
        return replace(ONE, disks=(disk,))

    # -- guests ----------------------------------------------------------------------------

    async def test_what_a_guest_prints_is_on_its_console(self) -> None:
        async with self.make() as hypervisor:
            await hypervisor.ensure_running(self.booting(GUEST))
            await _prints(hypervisor, b"READY", times=1)

    async def test_a_watcher_sees_a_guest_halt_by_itself(self) -> None:
        async with self.make() as hypervisor:
            watching = hypervisor.watch()
            await hypervisor.ensure_running(self.booting(HALTS_AT_ONCE))
            await sees(watching, ONE.vm, Power.OFF)
            assert await hypervisor.survey() == {ONE.vm: Power.OFF}

    async def test_a_watcher_sees_a_guest_killed(self) -> None:
        async with self.make() as hypervisor:
            await hypervisor.ensure_running(ONE)
            watching = hypervisor.watch()
            self.daemon.signal(ONE.name, "KILL")
            await sees(watching, ONE.vm, Power.OFF)

    async def test_a_guest_that_listens_shuts_itself_down(self) -> None:
        async with self.make(stop_seconds=WITHIN_S) as hypervisor:
            await hypervisor.ensure_running(self.booting(GUEST))
            await _prints(hypervisor, b"READY", times=1)
            assert await hypervisor.ensure_off(ONE.vm, False) is Power.OFF
            assert "shut off (shutdown)" in self.daemon.virsh("domstate", "--reason", ONE.name)

    async def test_a_guest_that_listens_reboots_itself(self) -> None:
        async with self.make(stop_seconds=WITHIN_S) as hypervisor:
            await hypervisor.ensure_running(self.booting(GUEST))
            await _prints(hypervisor, b"READY", times=1)
            assert await hypervisor.reboot(ONE.vm, False) is Power.ON
            await _prints(hypervisor, b"READY", times=2)

    async def test_a_paused_machine_is_made_to_run(self) -> None:
        async with self.make() as hypervisor:
            await hypervisor.ensure_running(ONE)
            self.daemon.virsh("suspend", ONE.name)
            assert await hypervisor.ensure_running(ONE) is Power.ON
            assert self.daemon.virsh("domstate", ONE.name).strip() == "running"

    async def test_a_stopped_machine_takes_its_new_size_at_the_next_start(self) -> None:
        async with self.make() as hypervisor:
            await hypervisor.ensure_running(ONE)
            await hypervisor.ensure_off(ONE.vm, True)
            await hypervisor.ensure_running(replace(ONE, memory_mib=64))
            assert "<memory unit='KiB'>65536<" in self.daemon.virsh("dumpxml", ONE.name)

    # -- what cannot start -----------------------------------------------------------------

    async def test_a_broken_disk_is_named_by_qemu_and_nothing_is_left(self) -> None:
        (self.folder / "bad.qcow2").write_bytes(b"no image at all" * 100)
        disk = Disk(volume=VolumeId("bad"), path=str(self.folder / "bad.qcow2"))
        async with self.make() as hypervisor:
            with pytest.raises(Refused, match=r"libvirt on h1: .*not in qcow2 format"):
                await hypervisor.ensure_running(replace(ONE, disks=(disk,)))
            assert await hypervisor.survey() == {}
            assert self.daemon.virsh("list", "--all", "--name").strip() == ""
            assert await hypervisor.ensure_running(ONE) is Power.ON

    async def test_a_missing_bridge_is_named_and_nothing_is_left(self) -> None:
        plug = Plug(nic=NicId("n"), mac="02:00:00:00:00:01", bridge="csbr-none")
        async with self.make() as hypervisor:
            with pytest.raises(Refused, match="csbr-none"):
                await hypervisor.ensure_running(replace(ONE, plugs=(plug,)))
            assert await hypervisor.survey() == {}

    # -- whose a domain is -----------------------------------------------------------------

    async def test_foreign_domains_are_left_alone(self) -> None:
        xml = self.folder / "foreign.xml"
        xml.write_text(
            f"<domain type='qemu'><name>mine</name><uuid>{ONE.vm}</uuid><memory>32768</memory>"
            "<os><type>hvm</type></os></domain>"
        )
        async with self.make() as hypervisor:
            self.daemon.virsh("define", str(xml))
            assert await hypervisor.survey() == {}
            verbs: list[Callable[[], Awaitable[Any]]] = [
                lambda: hypervisor.ensure_running(ONE),
                lambda: hypervisor.ensure_off(ONE.vm, True),
                lambda: hypervisor.ensure_absent(ONE.vm),
            ]
            for verb in verbs:
                with pytest.raises(Refused, match="not csnode's"):
                    await verb()
            assert self.daemon.virsh("domstate", "mine").strip() == "shut off"

    # -- libvirtd itself -------------------------------------------------------------------

    async def test_a_killed_libvirtd_is_found_again_and_its_guests_with_it(self) -> None:
        async with self.make() as hypervisor:
            await hypervisor.ensure_running(ONE)
            watching = hypervisor.watch()
            self.daemon.kill()
            try:
                with pytest.raises(Unavailable, match="libvirtd on h1 "):
                    await hypervisor.survey()
                with pytest.raises(Unavailable, match="libvirtd on h1 "):
                    await hypervisor.ensure_running(TWO)
                assert self.daemon.alive(ONE.name)
            finally:
                self.daemon.start()
            await _answers(hypervisor)
            assert await hypervisor.survey() == {ONE.vm: Power.ON}
            self.daemon.virsh("destroy", ONE.name)
            await sees(watching, ONE.vm, Power.OFF)

    async def test_a_driver_may_be_entered_before_its_libvirtd_is_there(self) -> None:
        self.daemon.kill()
        try:
            async with self.make() as hypervisor:
                with pytest.raises(Unavailable, match="libvirtd on h1 "):
                    await hypervisor.describe()
                self.daemon.start()
                await _answers(hypervisor)
        finally:
            if not self.daemon.answers():
                self.daemon.start()

    async def test_an_id_that_is_none_is_invalid(self) -> None:
        async with self.make() as hypervisor:
            for verb in (hypervisor.ensure_absent, hypervisor.console):
                with pytest.raises(Fault):
                    await verb(VmId("../../etc/passwd"))

    async def test_a_console_log_is_kept_small_while_it_is_written(self) -> None:
        async with self.make() as hypervisor:
            await hypervisor.ensure_running(self.booting(GUEST))
            await _prints(hypervisor, b"READY", times=1)
            log = ConsoleLogs(str(self.folder / "state")).path(ONE.vm)
            with log.open("ab") as written:
                written.write(b"x" * 8_000_000 + b"the end")
            await hypervisor.survey()
            assert log.stat().st_size == 64 * 1024
            await hypervisor.reboot(ONE.vm, True)
            await _prints(hypervisor, b"READY", times=1)
            assert (await hypervisor.console(ONE.vm)).count(b"the end") == 1


async def _ip(*words: str) -> None:
    process = await asyncio.create_subprocess_exec("ip", *words)
    assert await process.wait() == 0


async def _fails(asking: Awaitable[Any]) -> bool:
    try:
        await asking
    except Unavailable:
        return True
    return False


async def _prints(hypervisor: Hypervisor, text: bytes, times: int) -> None:
    """Wait until the console holds the text so often."""

    async def printed() -> bool:
        return (await hypervisor.console(ONE.vm)).count(text) >= times

    await _until(printed)


async def _answers(hypervisor: Hypervisor) -> None:
    """Wait until the driver has its connection again."""

    async def answered() -> bool:
        return not await _fails(hypervisor.survey())

    await _until(answered)


async def _until(true: Callable[[], Awaitable[bool]]) -> None:
    async with asyncio.timeout(WITHIN_S):
        while not await true():
            await asyncio.sleep(0.05)
