"""The directory's suite on every backend, and what each refuses."""

from __future__ import annotations

import random
import socket
from contextlib import suppress
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

    secret = "a secret of the tests"
    port: int

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
        port = own_port(directory)
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as stranger:
            stranger.sendto(datagram, ("127.0.0.1", port))


def own_port(directory: BeatingDirectory) -> int:
    """The port its beacons come from."""
    assert isinstance(directory._post, Udp)
    port: int = directory._post._sockets[0].getsockname()[1]
    return port


class TestMulticast(Datagrams):
    def make(self, cluster: str = "one") -> Directory:
        config = DirectoryConfig(group="239.192.77.10", port=self.port)
        return MulticastDirectory(config, Seal(cluster, self.secret))


class TestMulticastWithoutSecret(TestMulticast):
    secret = ""


class TestStatic(Datagrams):
    def make(self, cluster: str = "one") -> Directory:
        config = DirectoryConfig(port=self.port, seeds=(f"127.0.0.1:{self.port}",))
        return StaticDirectory(config, Seal(cluster, self.secret))


async def test_other_secrets_keep_clusters_apart_too() -> None:
    config = DirectoryConfig(group="239.192.77.10", port=free_port())
    async with (
        MulticastDirectory(config, Seal("one", "a secret")) as ours,
        MulticastDirectory(config, Seal("one", "another")) as theirs,
        MulticastDirectory(config, Seal("one", "a secret")) as witness,
    ):
        theirs.announce(member("b"))
        ours.announce(member("a"))
        await until(lambda: names(witness) == ["a"])
        assert (names(ours), names(theirs)) == (["a"], ["b"])


async def test_a_probe_saves_a_suspect_whose_beacons_got_lost() -> None:
    config = DirectoryConfig(group="239.192.77.10", port=free_port())
    async with (
        MulticastDirectory(config, Seal("one", "")) as first,
        MulticastDirectory(config, Seal("one", "")) as second,
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
        MulticastDirectory(config, Seal("one", "")) as first,
        MulticastDirectory(config, Seal("one", "")) as second,
    ):
        first.announce(member("a", incarnation=1))
        second.announce(member("a", incarnation=2))
        await until(lambda: first._namesake)
        assert not second._namesake


@pytest.mark.parametrize(
    ("config", "secret", "why"),
    [
        (DirectoryConfig(group="192.0.2.1"), "", "no IPv4 multicast address"),
        (DirectoryConfig(group="nonsense"), "", "no IPv4 multicast address"),
        (DirectoryConfig(interface="no-such"), "s", "there is no 'no-such' here; there are: lo"),
        (DirectoryConfig(interface="eth0"), "", "secret: needed for a directory on eth0"),
    ],
)
async def test_a_bad_multicast_is_refused(config: DirectoryConfig, secret: str, why: str) -> None:
    with pytest.raises(Invalid, match=why):
        async with MulticastDirectory(config, Seal("one", secret)):
            pass


@pytest.mark.parametrize("seed", ["127.0.0.1", ":17670", "127.0.0.1:x", "no-such.invalid:1"])
async def test_a_bad_seed_is_refused(seed: str) -> None:
    with pytest.raises(Invalid, match=r"\[directory\] seeds: "):
        async with StaticDirectory(DirectoryConfig(port=0, seeds=(seed,)), Seal("one", "")):
            pass


async def test_a_record_too_large_for_a_datagram_is_refused() -> None:
    everything = Serving(contract="Compute", at=tuple(f"host-{n:032}" for n in range(2000)))
    large: Member = member("a", serves=(everything,))
    config: Any = DirectoryConfig(group="239.192.77.10", port=free_port())
    async with MulticastDirectory(config, Seal("one", "")) as directory:
        with pytest.raises(Invalid, match="too many hosts and pools"):
            directory.announce(large)
        assert names(directory) == []
