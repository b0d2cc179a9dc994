"""Commands that look at a running cloud: whom they wait for, and how long."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence

import pytest
from msgspec.structs import replace

from csnode.bus.local import LocalBus
from csnode.cli.joined import members, servers
from csnode.clock import now
from csnode.directory.alone import AloneDirectory
from csnode.directory.directory import Member, Serving
from csnode.faults import Unavailable
from csnode.testing.loop import simulate
from csnode.types import NodeId

STARTING = Member(
    node=NodeId("box"), cluster="test", incarnation=1, number=1, host="box",
    roles=("api", "fabric"), serves=(), calls="tcp://127.0.0.1:9001", events="",
)  # fmt: skip
SERVING = replace(STARTING, number=2, serves=(Serving(contract="Membership", at=()),))


async def _found(serves_after_s: float | None) -> tuple[Sequence[Member], float]:
    """Who serves Membership where a node is there at once and serves later; and after how long."""
    directory = AloneDirectory()
    directory.announce(STARTING)
    if serves_after_s is not None:
        asyncio.get_running_loop().call_later(serves_after_s, directory.announce, SERVING)
    began = now()
    return await servers(LocalBus(directory), "Membership"), now() - began


def test_a_node_that_is_heard_before_its_roles_serve_is_waited_for() -> None:
    found, took_s = simulate(_found(6.0))
    assert [member.node for member in found] == ["box"]
    assert took_s < 6.5


def test_where_nobody_will_serve_it_the_wait_ends() -> None:
    found, took_s = simulate(_found(None))
    assert not found
    assert took_s < 11.0


def test_where_nobody_is_heard_it_says_so() -> None:
    with pytest.raises(Unavailable, match="is csnode running"):
        simulate(members(LocalBus(AloneDirectory())))
