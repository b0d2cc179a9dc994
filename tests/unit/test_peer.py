"""What a caller makes of an answer that its own loop was too late to take."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from typing import cast

import msgspec
import pytest

from csnode.bus.envelope import Answer
from csnode.bus.peer import Peer
from csnode.bus.service import methods_of
from csnode.bus.wiring import Got, Wiring
from csnode.clock import now
from csnode.faults import Unavailable
from csnode.testing.bus import Ping
from csnode.types import NodeId


class Lying:
    """A line on which answers lie until somebody looks."""

    def __init__(self, got: Got) -> None:
        self.got = got
        self.arrived: list[bytes] = []

    def write(self, data: Sequence[bytes]) -> None:
        del data

    def get_write_buffer_size(self) -> int:
        return 0

    def forget(self) -> None:
        """Nothing is kept."""

    def drain(self) -> None:
        while self.arrived:
            self.got([self.arrived.pop(0)])


class Wire:
    """Gives out that line."""

    def asking(
        self, endpoint: str, got: Got, changed: Callable[[bool], None], key: str = ""
    ) -> Lying:
        del endpoint, changed, key
        self.line = Lying(got)
        return self.line


async def asked(arrived: Sequence[Answer]) -> str:
    """The answer to a call whose time is over before its loop comes to look at the line."""
    wire = Wire()
    peer = Peer(NodeId("server"), "tcp://there", "", cast("Wiring", wire), lambda: None)
    who = methods_of(Ping)["who"]
    call = asyncio.ensure_future(peer.ask(who, None, (), now()))
    wire.line.arrived += [msgspec.msgpack.encode([answer]) for answer in arrived]
    return await call


async def test_an_answer_that_has_arrived_is_taken_though_its_time_is_over() -> None:
    assert await asked([Answer(id=1, value=msgspec.Raw(msgspec.msgpack.encode("me")))]) == "me"


async def test_a_call_whose_answer_has_not_arrived_is_given_up() -> None:
    with pytest.raises(Unavailable, match=r"Ping\.who did not answer within 10 s"):
        await asked([Answer(id=2, value=msgspec.Raw(msgspec.msgpack.encode("you")))])
