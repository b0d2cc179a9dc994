"""A node that finds two clouds of one name keeps to its own as soon as the machine knows it."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import msgspec
import pytest

from csnode import node as nodes
from csnode.bus.local import LocalBus
from csnode.cloud import Known
from csnode.config import Config
from csnode.contracts.data import Mark, Met
from csnode.directory.alone import AloneDirectory
from csnode.directory.directory import Member, Serving
from csnode.node import Node
from csnode.types import NodeId


class Both(AloneDirectory):
    """Two data services, each with a database of its own."""

    def __init__(self) -> None:
        super().__init__()
        self.announced: list[Member] = []

    def members(self) -> Sequence[Member]:
        return [
            Member(node=NodeId(f"{cloud}/data"), cluster="tests", incarnation=1, number=1, host="m",
                   roles=("data",), serves=(Serving(contract="Data", at=()),), calls="tcp://x",
                   events="", version="1", cloud=cloud)
            for cloud in ("ours", "theirs")
        ]  # fmt: skip

    def announce(self, member: Member) -> None:
        self.announced.append(member)


class Ours:
    async def meet(self, _: Mark | None) -> Met:
        return Met(cloud="ours", mark=Mark(number=5, at=1.8e9, proof=b""))


async def test_a_node_keeps_to_the_cloud_that_another_process_of_its_machine_has_met(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(nodes, "ANNOUNCE_S", 0.01)
    described = {"cluster": "tests", "host": "m", "roles": ("monitor",), "state": str(tmp_path)}
    node = Node(Config({"node": described, "directory": {"kind": "alone"}}))
    directory = Both()
    node.bus, node.incarnation = LocalBus(directory), 1
    data: Any = Ours()
    answering = asyncio.create_task(node._answering(data))
    async with asyncio.timeout(60):
        while not node.cloud.trouble:
            await asyncio.sleep(0)
        assert directory.announced == [] or directory.announced[-1].cloud == ""
        known = tmp_path / "cloud"
        known.write_bytes(msgspec.json.encode(Known(cloud="ours")))
        await answering
    assert node.cloud.id == "ours"
    assert [member.cloud for member in directory.announced][-1:] == ["ours"]
