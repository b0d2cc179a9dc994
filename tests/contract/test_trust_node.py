"""A node starts only as what its credential says it is."""

from __future__ import annotations

from contextlib import AsyncExitStack
from pathlib import Path
from typing import Any

import pytest

from csnode.bus.zeromq import ZmqBus
from csnode.config import Config
from csnode.directory.multicast import MulticastDirectory
from csnode.faults import Fault
from csnode.node import Node
from csnode.testing.trusted import Founded


def config(folder: Path, **node: Any) -> Config:
    described = {"cluster": "tests", "host": "m", "roles": ("monitor",), "state": str(folder)}
    return Config(
        {
            "node": {**described, **node},
            "directory": {"kind": "alone"},
            "trust": {"folder": str(folder / "m")},
        }
    )


@pytest.mark.parametrize(
    ("said", "why"),
    [
        ({"host": "n"}, r"\[node\] host is n, but the credential .* is of the machine m"),
        ({"name": "n/monitor"}, r"\[node\] name is n/monitor: it must begin with m/"),
        ({"roles": ("monitor", "data")}, "does not allow data"),
        ({"cluster": "another"}, "is of the cluster tests"),
    ],
)
async def test_a_node_that_is_not_what_its_credential_says_does_not_start(
    tmp_path: Path, said: dict[str, Any], why: str
) -> None:
    Founded(tmp_path).machine("m", ("monitor", "api"))
    with pytest.raises(Fault, match=why):
        await Node(config(tmp_path, **said)).run()


async def test_a_nodes_sockets_have_its_machines_key(tmp_path: Path) -> None:
    trust = Founded(tmp_path).machine("m")
    node = Node(config(tmp_path))
    async with AsyncExitStack() as stack:
        bus = await node.enter_bus(stack)
        assert isinstance(bus, ZmqBus)
        assert bus.key == trust.keys.public
        assert bus._sockets.proves
    assert node.troubles()["trust"] == ()


async def test_a_node_without_a_credential_stays_on_this_machine(tmp_path: Path) -> None:
    node = Node(config(tmp_path))
    async with AsyncExitStack() as stack:
        bus = await node.enter_bus(stack)
        assert isinstance(bus, ZmqBus)
        assert "127.0.0.1" in bus.endpoints[0]
        assert bus._sockets.proves is False
    beyond = Config({"node": {"state": str(tmp_path)}, "bus": {"listen": "198.51.100.1"}})
    far = Config({"node": {"state": str(tmp_path)}, "directory": {"interface": "eth0"}})
    for reaching in (beyond, far):
        async with AsyncExitStack() as stack:
            with pytest.raises(Fault, match="`csnode cluster init` or `csnode join`"):
                await Node(reaching).enter_bus(stack)


async def test_a_directory_is_given_the_machines_seal(tmp_path: Path) -> None:
    Founded(tmp_path).machine("m")
    node = Node(Config({"node": {"cluster": "tests"}, "trust": {"folder": str(tmp_path / "m")}}))
    async with AsyncExitStack() as stack:
        bus = await node.enter_bus(stack)
        assert isinstance(bus.directory, MulticastDirectory)
        assert bus.directory._seal.keyed
