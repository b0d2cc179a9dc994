"""On an address that others can reach (in a network namespace): no key, no word."""

from __future__ import annotations

import asyncio
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import zmq

from csnode.bus.zeromq import ZmqBus
from csnode.config import BusConfig
from csnode.directory.alone import AloneDirectory
from csnode.faults import Invalid
from csnode.testing.bus import until
from csnode.testing.trusted import Founded
from csnode.trust.files import Keys
from tests.contract.netspace import inside
from tests.system.attack import GREETING, Knock, answer_to

ADDRESS = "198.18.77.1"
REFUSED = 3  # of five clients, those whom libzmq brings as far as the gate


@pytest.fixture
def wide() -> Iterator[None]:
    """We are in a namespace with an address beyond loopback."""
    with inside("c8-hostile") as link:
        words = ("ip", "netns", "exec", "c8-hostile", "ip", "addr", "add", f"{ADDRESS}/24")
        subprocess.run((*words, "dev", link), check=True)
        yield


@pytest.mark.usefixtures("wide")
async def test_nobody_without_a_key_of_the_cluster_is_let_in(tmp_path: Path) -> None:
    with pytest.raises(Invalid, match="needs a credential"):
        async with ZmqBus(BusConfig(listen=ADDRESS), AloneDirectory()):
            pass
    founded = Founded(tmp_path / "ours")
    trust = founded.machine("box")
    stranger = Founded(tmp_path / "others").machine("box")
    async with ZmqBus(BusConfig(listen=ADDRESS), AloneDirectory(), trust=trust) as bus:
        context: zmq.Context[Any] = zmq.Context()
        key, knocks = trust.keys.public, list[Knock]()
        for endpoint, kind in zip(bus.endpoints, (zmq.DEALER, zmq.SUB), strict=True):
            assert ADDRESS in endpoint
            knocks += [
                Knock(context, endpoint, kind=kind),
                Knock(context, endpoint, kind=kind, plain=True),
                Knock(context, endpoint, kind=kind, keys=Keys.new(), server=key),
                Knock(context, endpoint, kind=kind, keys=stranger.keys, server=key),
                Knock(context, endpoint, kind=kind, keys=trust.keys, server=Keys.new().public),
            ]
            port = int(endpoint.rpartition(":")[2])
            said = await asyncio.to_thread(answer_to, (ADDRESS, port), b"GET / HTTP/1.1\r\n\r\n")
            assert len(said) <= GREETING
        sockets = bus._sockets
        await until(lambda: sockets.gate.refusals.count >= REFUSED)  # type: ignore[attr-defined]
        assert not any(knock.heard() for knock in knocks)
        member = Knock(context, bus.endpoints[0], keys=trust.keys, server=key)
        await until(member.heard)  # so the others were not just too slow
        for knock in (*knocks, member):
            knock.close()
        context.term()
