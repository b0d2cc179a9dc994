"""Who hears what, and is believed: events and beacons, by real sockets and real keys."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest

from csnode.bus import gate
from csnode.bus.transport import Sockets
from csnode.bus.wiring import Line
from csnode.bus.zeromq import ZmqBus
from csnode.config import DirectoryConfig
from csnode.directory.beacon import Seal
from csnode.directory.directory import Member
from csnode.directory.multicast import MulticastDirectory
from csnode.testing.bus import Said, until
from csnode.testing.trusted import Founded
from csnode.trust.trust import Trust
from csnode.types import NodeId
from tests.contract.test_directory import free_port
from tests.contract.zmq_nodes import ZmqNodes, gate_of, zmq_nodes

HOSTING = ("compute", "network", "storage")


@pytest.fixture
def founded(tmp_path: Path) -> Founded:
    return Founded(tmp_path)


@pytest.fixture
async def nodes(founded: Founded) -> AsyncGenerator[ZmqNodes]:
    async with zmq_nodes(founded) as nodes:
        yield nodes


@pytest.fixture(autouse=True)
def impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(gate, "WAIT_S", 0.3)


# -- events ----------------------------------------------------------------------------------


@asynccontextmanager
async def listening(trust: Trust, publisher: ZmqBus) -> AsyncGenerator[list[bytes]]:
    """A machine that subscribes to all there is, by hand; gives what it hears."""
    sockets, heard = Sockets(trust), list[bytes]()
    line: Line = sockets.hearing(lambda parts: heard.append(parts[-1]))
    line.subscribe(b"")
    line.attach(publisher.endpoints[1], publisher.key)
    try:
        yield heard
    finally:
        line.abort()
        await sockets.close()


async def test_a_machine_that_only_runs_guests_hears_no_feed(
    nodes: ZmqNodes, founded: Founded
) -> None:
    data = await nodes.join("data")
    founded.machine("hv-1", HOSTING)
    founded.machine("ctl", ("api",))
    founded.introduce()
    async with (
        listening(founded.machines["ctl"], data) as ours,
        listening(founded.machines["hv-1"], data) as theirs,
    ):
        await until(lambda: data.publish(Said(who="vm", number=1)) or bool(ours))
        await until(lambda: gate_of(data).refusals.count > 0)
        assert not theirs


async def test_an_event_that_a_host_forges_reaches_nobody(
    nodes: ZmqNodes, founded: Founded
) -> None:
    for name, roles in (("data", ("data",)), ("hv-1", HOSTING), ("api", ("api",))):
        founded.machine(name, roles)
    data, host, api = [await nodes.join(name) for name in ("data", "hv-1", "api")]
    heard: list[str] = []
    api.subscribe(Said, lambda said: heard.append(said.who))
    for _ in range(3):
        heard.clear()
        while "true" not in heard:
            host.publish(Said(who="forged", number=1))
            data.publish(Said(who="true", number=1))
            await asyncio.sleep(0.01)
        assert set(heard) == {"true"}


async def test_an_evicted_machine_hears_no_more_and_the_others_go_on(
    nodes: ZmqNodes, founded: Founded
) -> None:
    data = await nodes.join("data")
    founded.machine("bad")
    founded.machine("good")
    founded.introduce()
    async with (
        listening(founded.machines["bad"], data) as theirs,
        listening(founded.machines["good"], data) as ours,
    ):
        await until(lambda: data.publish(Said(who="vm", number=1)) or bool(ours and theirs))
        endpoint = data.endpoints[1]
        founded.machines["data"].roll.put_out("bad", 1)
        await until(lambda: gate_of(data).refusals.count > 0)
        ours.clear()
        theirs.clear()
        await until(lambda: data.publish(Said(who="vm", number=2)) or len(ours) > 5)
        assert not theirs
        assert data.endpoints[1] == endpoint


# -- directories -----------------------------------------------------------------------------


def described(trust: Trust, **fields: object) -> Member:
    made: dict[str, object] = {
        "node": NodeId(f"{trust.credential.name}/all"),
        "cluster": trust.credential.cluster,
        "incarnation": 1,
        "number": 1,
        "host": trust.credential.name,
        "roles": ("api",),
        "serves": (),
        "calls": "tcp://127.0.0.1:1",
        "events": "tcp://127.0.0.1:2",
        "key": trust.keys.public,
    }
    return Member(**{**made, **fields})  # type: ignore[reportArgumentType]


async def test_two_clusters_of_one_name_do_not_see_each_other(tmp_path: Path) -> None:
    """The same name, the same group; only their keys differ."""
    config = DirectoryConfig(group="239.192.77.10", port=free_port())
    one, two = Founded(tmp_path / "1"), Founded(tmp_path / "2")
    a, b, x = one.machine("a"), one.machine("b"), two.machine("a")
    async with (
        MulticastDirectory(config, Seal("tests", a)) as ours,
        MulticastDirectory(config, Seal("tests", b)) as witness,
        MulticastDirectory(config, Seal("tests", x)) as theirs,
    ):
        theirs.announce(described(x))
        ours.announce(described(a))
        witness.announce(described(b))
        await until(lambda: [m.host for m in witness.members()] == ["a", "b"])
        await until(lambda: [m.host for m in ours.members()] == ["a", "b"])
        await until(lambda: witness._seal.refusals.count > 0)
        assert list(theirs.members()) == [described(x)]
        assert described(x) not in witness.members()


async def test_a_beacon_that_is_sent_again_changes_nothing(tmp_path: Path) -> None:
    config = DirectoryConfig(group="239.192.77.10", port=free_port())
    founded = Founded(tmp_path)
    a, b = founded.machine("a"), founded.machine("b")
    async with (
        MulticastDirectory(config, Seal("tests", a)) as ours,
        MulticastDirectory(config, Seal("tests", b)) as other,
    ):
        seen: list[bytes] = []
        take = ours._take
        ours._take = lambda datagram, sender: (seen.append(datagram), take(datagram, sender))[1]
        other.announce(described(b))
        await until(lambda: len(ours.members()) > 0)
        first = seen[0]
        other.announce(described(b, number=2, load=3.0))
        await until(lambda: ours.members()[0].load == 3.0)
        for datagram in (first, *seen):
            take(datagram, ("127.0.0.1", 9))
        assert ours.members()[0].load == 3.0
        assert ("127.0.0.1", 9) not in ours._roster.addresses()
