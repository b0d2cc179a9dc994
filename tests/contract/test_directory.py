"""The directory's suite on every backend, and what each refuses."""

from __future__ import annotations

import os
import random
import socket
from collections.abc import Generator
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest

from csnode.config import DirectoryConfig
from csnode.directory.alone import AloneDirectory, Meeting
from csnode.directory.beacon import Seal
from csnode.directory.beating import BeatingDirectory
from csnode.directory.datagrams import Udp
from csnode.directory.directory import Directory, Member, Serving
from csnode.directory.multicast import MulticastDirectory
from csnode.directory.static import StaticDirectory
from csnode.faults import Invalid
from csnode.testing.directory import BeatingSuite, DirectorySuite, Log, member, names, until
from csnode.testing.trusted import Founded
from tests.contract.netspace import inside


def free_port() -> int:
    """A UDP port that nobody has, and that the system gives to nobody who asks for any."""
    while True:
        port = random.randrange(18000, 32000)
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as probe, suppress(OSError):
            probe.bind(("", port))
            return port


class TestAlone(DirectorySuite):
    @pytest.fixture(autouse=True)
    def meeting(self) -> None:
        self.where = Meeting()

    def make(self, cluster: str = "one") -> Directory:
        return AloneDirectory(self.where)


class Datagrams(BeatingSuite):
    """What multicast and static have in common here."""

    port: int
    loopback = "127.0.0.1"

    @pytest.fixture(autouse=True)
    def own_port(self) -> None:
        self.port = free_port()

    def drop(self, directory: Directory) -> None:
        assert isinstance(directory, BeatingDirectory)
        directory._close()

    def heard(self, directory: Directory) -> list[tuple[bytes, tuple[str, int]]]:
        assert isinstance(directory, BeatingDirectory)
        seen: list[tuple[bytes, tuple[str, int]]] = []
        take = directory._take

        def keep(datagram: bytes, sender: tuple[str, int]) -> None:
            seen.append((datagram, sender))
            take(datagram, sender)

        directory._take = keep
        return seen

    def send(self, directory: Directory, datagram: bytes) -> None:
        assert isinstance(directory, BeatingDirectory)
        port = own_port(directory, ":" in self.loopback)
        family = socket.AF_INET6 if ":" in self.loopback else socket.AF_INET
        with socket.socket(family, socket.SOCK_DGRAM) as stranger:
            stranger.sendto(datagram, (self.loopback, port))


def own_port(directory: BeatingDirectory, wide: bool) -> int:
    """The port its beacons come from."""
    assert isinstance(directory._post, Udp)
    outlet = directory._post._outlets[socket.AF_INET6 if wide else socket.AF_INET]
    port: int = outlet.getsockname()[1]
    return port


class TestMulticast(Datagrams):
    def make(self, cluster: str = "one") -> Directory:
        config = DirectoryConfig(group="239.192.77.10", port=self.port)
        return MulticastDirectory(config, Seal(cluster))


class TestStatic(Datagrams):
    def make(self, cluster: str = "one") -> Directory:
        config = DirectoryConfig(port=self.port, seeds=(f"127.0.0.1:{self.port}",))
        return StaticDirectory(config, Seal(cluster))


class TestStatic6(Datagrams):
    """Both families, found by an IPv6 seed."""

    loopback = "::1"

    def make(self, cluster: str = "one") -> Directory:
        config = DirectoryConfig(port=self.port, seeds=(f"[::1]:{self.port}",))
        return StaticDirectory(config, Seal(cluster))


@pytest.mark.real
class TestMulticast6(Datagrams):
    """On a link of its own: lo carries no IPv6 multicast."""

    loopback = "::1"

    @pytest.fixture(autouse=True)
    def link(self) -> Generator[None, None, None]:
        with inside(f"csdir6-{os.getpid()}") as self.interface:
            yield

    def make(self, cluster: str = "one") -> Directory:
        config = DirectoryConfig(group="ff02::4d09", port=self.port, interface=self.interface)
        seal = Seal(cluster)
        seal.keyed = True  # nobody else is on this link
        return MulticastDirectory(config, seal)

    async def test_its_beacons_come_from_link_local_addresses(self) -> None:
        async with self.make() as first, self.make() as second:
            seen = self.heard(first)
            second.announce(member("b"))
            await until(lambda: names(first) == ["b"])
            assert all(sender.startswith("fe80::") for _, (sender, _) in seen)


async def test_seeds_of_both_families_find_each_other() -> None:
    port, other = free_port(), free_port()
    first_config = DirectoryConfig(port=port, seeds=(f"[::1]:{other}",))
    second_config = DirectoryConfig(port=other, seeds=(f"127.0.0.1:{port}",))
    async with (
        StaticDirectory(first_config, Seal("one")) as first,
        StaticDirectory(second_config, Seal("one")) as second,
    ):
        first.announce(member("a"))
        second.announce(member("b"))
        await until(lambda: names(first) == names(second) == ["a", "b"])


async def test_a_probe_saves_a_suspect_whose_beacons_got_lost() -> None:
    config = DirectoryConfig(group="239.192.77.10", port=free_port())
    async with (
        MulticastDirectory(config, Seal("one")) as first,
        MulticastDirectory(config, Seal("one")) as second,
    ):
        first.announce(member("a"))
        second.announce(member("b"))
        await until(lambda: names(first) == ["a", "b"])
        log = Log(first)
        second._targets = tuple  # it is heard no more unless asked
        await until(lambda: log.seen.count(("b", True)) >= 3)
        assert ("b", False) not in log.seen


async def test_a_namesake_is_told_of(capsys: pytest.CaptureFixture[str]) -> None:
    config = DirectoryConfig(group="239.192.77.10", port=free_port())
    async with (
        MulticastDirectory(config, Seal("one")) as first,
        MulticastDirectory(config, Seal("one")) as second,
    ):
        first.announce(member("a", incarnation=1))
        second.announce(member("a", incarnation=2))
        await until(lambda: first._namesake)
        assert not second._namesake


@pytest.mark.parametrize(
    ("config", "why"),
    [
        (DirectoryConfig(group="198.51.100.1"), "no multicast address"),
        (DirectoryConfig(group="nonsense"), "no multicast address"),
        (DirectoryConfig(group="ff02::4d09"), "lo carries no IPv6 multicast"),
        (DirectoryConfig(interface="eth0"), "eth0 needs a credential"),
    ],
)
async def test_a_bad_multicast_is_refused(config: DirectoryConfig, why: str) -> None:
    with pytest.raises(Invalid, match=why):
        async with MulticastDirectory(config, Seal("one")):
            pass


async def test_an_interface_that_is_not_there_is_refused(tmp_path: Path) -> None:
    seal = Seal("one", Founded(tmp_path, "one").machine("a"))
    with pytest.raises(Invalid, match="there is no 'no-such' here; there are: lo"):
        async with MulticastDirectory(DirectoryConfig(interface="no-such"), seal):
            pass


@pytest.mark.parametrize(
    "seed", ["::1:17670", "[::1]", "127.0.0.1", ":17670", "127.0.0.1:x", "no-such.invalid:1"]
)
async def test_a_bad_seed_is_refused(seed: str) -> None:
    with pytest.raises(Invalid, match=r"\[directory\] seeds: "):
        async with StaticDirectory(DirectoryConfig(port=0, seeds=(seed,)), Seal("one")):
            pass


async def test_a_record_too_large_for_a_datagram_is_refused() -> None:
    everything = Serving(contract="Compute", at=tuple(f"host-{n:032}" for n in range(2000)))
    large: Member = member("a", serves=(everything,))
    config: Any = DirectoryConfig(group="239.192.77.10", port=free_port())
    async with MulticastDirectory(config, Seal("one")) as directory:
        with pytest.raises(Invalid, match="too many hosts and pools"):
            directory.announce(large)
        assert names(directory) == []
