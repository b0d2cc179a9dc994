"""A cloud of three machines: one controls, two run guests (simulated), all with keys of their own.

The attacker is somebody on the network, or whoever took over hv-1: he has that machine's keys, and
wants what is of hv-2 and of the machine that controls.
"""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import msgspec
import pytest
from msgspec.structs import replace

from csnode.cli.joined import joined, members
from csnode.config import Config
from csnode.contracts.membership import JoinRequest
from csnode.data.store import Store
from csnode.model.host import Host
from csnode.model.identity import Account, User
from csnode.model.membership import Invite, Seat
from csnode.model.network import Network
from csnode.model.vm import Vm
from csnode.trust.files import Keys
from csnode.trust.trust import Trust
from tests.system.processes import wait_for
from tests.system.test_clients import prepared
from tests.system.test_join import CONTROL, Cluster, Machine

CONTROLLER = "+".join(CONTROL)
PRIVATE = "bm90IGZvciB5b3U="  # user data of the machine on hv-2
ASKED_S = 8.0


class Besieged:
    """The cloud, what the attacker has, and what he wants."""

    def __init__(self, folder: Path) -> None:
        self.cluster = Cluster(folder)
        self.cloud = self.cluster.cloud
        self.hosts: dict[str, Machine] = {}
        self.tokens: list[str] = []
        self.results: dict[str, Any] = {}

    def up(self) -> None:
        self.cloud.start(*CONTROL)
        self.cloud.wait_ready()
        for name in ("hv-1", "hv-2"):
            machine = self.hosts[name] = self.cluster.machine(name)
            self.tokens.append(self.cluster.token())
            done = machine.join(self.tokens[-1])
            assert done.returncode == 0, done.stderr
            machine.start()
        up = {"hv-1": "Up", "hv-2": "Up"}
        wait_for(lambda: self.cluster.states() == up, 60, "both hosts are Up")
        cs, params = self.cluster.api, prepared(self.cluster.api)
        self.host_ids = {h["name"]: h["id"] for h in cs.listHosts()["host"]}
        vm = self._placed(cs, params)
        self.vm = vm["id"]
        self.network = vm["nic"][0]["networkid"]
        self.controller = self.trust(self.cloud.folder)
        self.victim = self.trust(self.hosts["hv-2"].folder)
        self.stolen = self.trust(self.hosts["hv-1"].folder)

    def _placed(self, cs: Any, params: dict[str, str]) -> dict[str, Any]:
        """A machine on hv-2, in a network whose router is there too: nothing of it is at hv-1."""
        offering = cs.listNetworkOfferings()["networkoffering"][0]["id"]
        for number in range(8):
            network = cs.createNetwork(
                zoneid=params["zoneid"], networkofferingid=offering, name=f"n{number}",
                displaytext="of a tenant",
            )["network"]["id"]  # fmt: skip
            vm = cs.deployVirtualMachine(
                **params, networkids=network, name=f"vm-{number}", userdata=PRIVATE,
                fetch_result=True,
            )["virtualmachine"]  # fmt: skip
            router = next(n["router"] for n in self.rows()["network"] if n["id"] == network)
            if vm["hostname"] == "hv-2" and router == self.host_ids["hv-2"]:
                return dict(vm)
        raise AssertionError("no machine came to hv-2")

    def trust(self, folder: Path) -> Trust:
        trust = Trust.read(folder / "state/trust")
        assert trust is not None
        return trust

    @property
    def config(self) -> Config:
        """Of the machine that was taken over."""
        return Config.read(self.hosts["hv-1"].file, {}, {})

    @property
    def log(self) -> str:
        return self.cloud.log(CONTROLLER)

    def pool(self) -> str:
        host = self.host_ids["hv-2"]
        return next(p for p in self.victim.credential.places if p != host)

    def rows(self) -> dict[str, list[Any]]:
        """What must not have changed."""

        async def read() -> dict[str, list[Any]]:
            async with joined(Config.read(self.cloud.file, {}, {})) as bus:
                await members(bus)
                store = Store(bus, "", "test")
                found: dict[str, list[Any]] = {}
                for kind in (Vm, Seat, Invite, User, Account, Network):
                    rows = sorted(await store.find(kind), key=lambda row: row.id)
                    found[kind.kind] = [msgspec.to_builtins(row) for row in rows]
                found["host"] = sorted(row.id for row in await store.find(Host))
                return found

        return asyncio.run(read())

    def down(self) -> None:
        for machine in self.hosts.values():
            machine.end()


@pytest.fixture(scope="module")
def besieged(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Besieged]:
    made = Besieged(tmp_path_factory.mktemp("besieged"))
    with made.cloud:
        try:
            made.up()
            yield made
        finally:
            made.down()


def request_of(
    name: str, keys: Keys, hosts: int = 1, key: str = "", address: str = ""
) -> JoinRequest:
    bare = JoinRequest(
        name=name, key=key or keys.public, verify=keys.verify, proof=b"", hosts=hosts,
        address=address,
    )  # fmt: skip
    return replace(bare, proof=keys.sign(bare.said))


def state_of(besieged: Besieged) -> str:
    [vm] = besieged.cluster.api.listVirtualMachines(id=besieged.vm)["virtualmachine"]
    return str(vm["state"])
