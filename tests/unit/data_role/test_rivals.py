"""Of two databases under one cluster's name one gives way, once all have been heard."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence

from csnode.bus.local import LocalBus
from csnode.directory.alone import AloneDirectory
from csnode.directory.directory import Member, Serving
from csnode.testing.loop import simulate
from csnode.types import NodeId
from roles.data.config import DataConfig
from roles.data.role import SETTLE_S
from tests.contract.data_writer import role_of


class Heard(AloneDirectory):
    """Who was heard so far."""

    def __init__(self) -> None:
        super().__init__()
        self.heard: list[Member] = []

    def members(self) -> Sequence[Member]:
        return self.heard


def member(node: str, cloud: str, serves: bool = False) -> Member:
    serving = (Serving(contract="Data", at=()),) if serves else ()
    roles = ("data",) if serves else ("api",)
    return Member(node=NodeId(node), cluster="tests", incarnation=1, number=1, host=node,
                  roles=roles, serves=serving, calls="tcp://x", events="", version="1",
                  cloud=cloud)  # fmt: skip


def yielded(followers: int) -> tuple[str, str]:
    """Why ours is not served: at once, and later, when so many of ours have been heard as well."""

    async def story() -> tuple[str, str]:
        directory = Heard()
        config = DataConfig(path=":memory:", inline=True)
        async with role_of(LocalBus(directory), config) as role:
            own = member(role.node.node_id, role.cloud, serves=True)
            theirs = member("b", "theirs", serves=True), member("b/api", "theirs")
            directory.heard = [own, *theirs]
            await role.look_for_rivals()
            first = role.yielded
            directory.heard += [member(f"a{n}", role.cloud) for n in range(followers)]
            await asyncio.sleep(SETTLE_S + 1)
            await role.look_for_rivals()
            return first, role.yielded

    return simulate(story())


def test_a_database_whose_cluster_was_not_heard_yet_gives_way_to_none() -> None:
    assert yielded(followers=2) == ("", "")


def test_a_database_that_fewer_follow_gives_way_once_all_have_been_heard() -> None:
    first, later = yielded(followers=0)
    assert first == ""
    assert "b keeps another database" in later
