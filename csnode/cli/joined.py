"""Joining a cloud as a client: to look, without playing a role in it."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path
from typing import TYPE_CHECKING

from csnode.clock import now
from csnode.config import Config, NodeConfig, TrustConfig
from csnode.data.store import Store
from csnode.directory.directory import Member, serving
from csnode.faults import Denied, Unavailable
from csnode.node import AnyBus, Node

if TYPE_CHECKING:
    from csnode.trust.trust import Trust

QUIET_S = 1.3  # nodes send a beacon at least every 1.2 s
SERVED_S = 10.0  # roles of a node that has just started may take as long to serve


@asynccontextmanager
async def joined(config: Config) -> AsyncGenerator[AnyBus]:
    """Yield the cluster's bus; we hear everybody and tell nobody that we are there."""
    async with AsyncExitStack() as stack:
        yield await Node(config).enter_bus(stack, plays=False)


async def members(bus: AnyBus, within_s: float = 3.0) -> Sequence[Member]:
    """Hear everybody who can be heard, until nobody new was for a while.

    Raises Unavailable if nobody is.
    """
    began = now()
    heard = began
    known: Sequence[Member] = ()
    while now() < heard + QUIET_S and now() < began + within_s:
        await asyncio.sleep(0.1)
        if len(found := bus.directory.members()) != len(known):
            known, heard = found, now()
    if not known:
        raise Unavailable("no node of this cluster can be heard; is csnode running?")
    return known


async def servers(bus: AnyBus, contract: str, within_s: float = SERVED_S) -> Sequence[Member]:
    """Find who serves the contract, once the others were heard; none if nobody does in time.

    A node is heard before all its roles serve.
    """
    until = now() + within_s
    found = serving(await members(bus), contract)
    while not found and now() < until:
        await asyncio.sleep(0.1)
        found = serving(bus.directory.members(), contract)
    return found


def trust_folder(config: Config, node: NodeConfig | None = None) -> Path:
    """Return where the keys of this machine are."""
    chosen = config.section("trust", TrustConfig).folder
    return Path(chosen) if chosen else Path((node or config.node).state) / "trust"


def trust_of(config: Config) -> Trust:
    """Return this machine's keys and credential. Raises Denied if it has none."""
    from csnode.trust.trust import Trust  # only who has keys needs what signs with them

    trust = Trust.of(config)
    if trust is None:
        raise Denied(
            f"there is no credential in {trust_folder(config)}:"
            " `csnode cluster init` founds a cluster, `csnode join` makes this machine a member"
        )
    return trust


def store(bus: AnyBus) -> Store:
    """Return a store of the cluster's rows, to read."""
    return Store(bus, "", "status")
