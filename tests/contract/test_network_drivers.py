"""Every network driver passes the suite; the role serves any of them."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncGenerator

import pytest
import pytest_asyncio
from msgspec.structs import replace

from csnode.bus.local import LocalBus
from csnode.config import NodeConfig
from csnode.context import acting
from csnode.contracts.networking import Networking
from csnode.data.store import Store
from csnode.directory.alone import AloneDirectory
from csnode.drivers.driver import Seat
from csnode.drivers.network import NetworkDriver
from csnode.faults import Invalid, Outdated, Unavailable
from csnode.model.machine import GuestNetwork
from csnode.plugins import driver_type
from csnode.testing.network import NetworkSuite, guest_network, guest_nic
from csnode.types import HostId
from csnode.uuids import id_of, new_id
from roles.network.config import NetworkConfig, seats
from roles.network.drivers.command import batch, links, run
from roles.network.drivers.linux import LinuxNetwork
from roles.network.drivers.sim import OUTSIDE, SimNetwork, World
from roles.network.host import HostNetwork
from roles.network.role import NetworkRole
from tests.contract.netlab import Lab


class TestSim(NetworkSuite):
    @pytest.fixture(autouse=True)
    def _host(self) -> None:
        self.seat = Seat(id=HostId(new_id()), name="h1", address="127.0.0.1", folder="")

    def make(self, address: str = "127.0.0.1") -> NetworkDriver:
        return SimNetwork({}, replace(self.seat, address=address))

    async def leads(self, network: GuestNetwork) -> set[str]:
        assert network.network in OUTSIDE[self.seat.id].bridges
        return OUTSIDE[self.seat.id].peers

    async def cut(self, network: GuestNetwork) -> None:
        OUTSIDE[self.seat.id].cut.add(network.network)

    async def plug_in(self, bridge: str) -> None:
        OUTSIDE[self.seat.id].plugged.update(OUTSIDE[self.seat.id].bridges)

    async def unplug(self, bridge: str) -> None:
        OUTSIDE[self.seat.id].plugged.clear()


@pytest.mark.real
class TestLinux(NetworkSuite):
    @pytest_asyncio.fixture(autouse=True)
    async def _lab(self) -> AsyncGenerator[None]:
        self.lab = Lab()
        yield
        await self.lab.close()

    def make(self, address: str = "127.0.0.1") -> NetworkDriver:
        return LinuxNetwork({"names": self.lab.names}, replace(self.lab.seat, address=address))

    async def leads(self, network: GuestNetwork) -> set[str]:
        return await flooded(f"{self.lab.names}x{network.network[:8]}")

    async def cut(self, network: GuestNetwork) -> None:
        await batch([f"netns del {self.lab.names}r-{network.network[:8]}"])

    async def plug_in(self, bridge: str) -> None:
        end = f"{self.lab.names}v1"
        await batch([f"link add {end} master {bridge} type veth peer name {end}-"])

    async def unplug(self, bridge: str) -> None:
        await batch([f"link del {self.lab.names}v1"])


async def flooded(tunnel: str) -> set[str]:
    """Where a tunnel of this host copies to what has no known place."""
    if tunnel not in await links():
        return set()
    entries = json.loads(await run("bridge", "-j", "fdb", "show", "dev", tunnel))
    return {e["dst"] for e in entries if e["mac"] == "00:00:00:00:00:00"}


@pytest.mark.real
async def test_peers_named_in_the_configuration_win() -> None:
    lab, network = Lab(), guest_network()
    try:
        fixed = lab.driver(vxlan_local="198.18.0.9", vxlan_peers=["198.18.0.7"])
        async with fixed as driver:
            await driver.ensure_router(network)
            await driver.reach(["198.18.0.2"])
            assert await flooded(f"{lab.names}x{network.network[:8]}") == {"198.18.0.7"}
            await driver.ensure_no_router(network.network)
    finally:
        await lab.close()


# -- the role ------------------------------------------------------------------------------


class Played:
    """The role at work in one process, with sim drivers."""

    def __init__(self, node: NodeConfig | None = None, hosts: int = 1) -> None:
        self.node = node or NodeConfig(cluster=new_id(), host="h1", state="/nowhere")
        self.bus = LocalBus(AloneDirectory())
        config = NetworkConfig(driver="sim", hosts=hosts)
        store = Store(self.bus, "network")  # nobody answers: networks stand without rows
        self.role = NetworkRole(config, self.node, self.bus, store)
        self.opened = self.role.opened()

    async def __aenter__(self) -> Played:
        await anext(self.opened)
        return self

    async def __aexit__(self, *_: object) -> None:
        assert [turn async for turn in self.opened] == []

    @property
    def own(self) -> Networking:
        """Asked at the node's own host."""
        return self.at(self.node.host_id)

    @property
    def world(self) -> World:
        return OUTSIDE[self.node.host_id]

    def at(self, host: str) -> Networking:
        return self.bus.ask(Networking, at=host)

    async def repair(self) -> None:
        for sweep in self.role._sweeps:
            await sweep.host.repair()


async def test_one_role_plays_many_hosts_each_by_itself() -> None:
    network = guest_network()
    async with Played(hosts=3) as played:
        first, second, third, fourth = (
            id_of(played.node.cluster, "host", name)
            for name in ("h1", "h1-0002", "h1-0003", "h1-0004")
        )
        await played.at(second).ensure_router(network)
        assert await played.at(first).survey() == {}
        assert await played.at(second).survey() == {network.network: ()}
        assert await played.at(third).survey() == {}
        with pytest.raises(Unavailable):
            await played.at(fourth).survey()


@pytest.mark.parametrize("config", [NetworkConfig(hosts=2), NetworkConfig(driver="sim", hosts=0)])
def test_a_number_of_hosts_that_makes_no_sense_is_refused(config: NetworkConfig) -> None:
    with pytest.raises(Invalid, match="hosts"):
        seats(config, NodeConfig())


@pytest.mark.parametrize(
    ("driver", "options"),
    [
        ("sim", {"latency": 1}),
        ("sim", {"latency_s": "long"}),
        ("linux", {"names": "toolong"}),
        ("linux", {"names": "a\n"}),
        ("linux", {"uplink": "eth0; reboot"}),
        ("linux", {"public_bridge": "sixteen_letters_"}),
        ("linux", {"vxlan_peers": ["192.0.2.1 dev eth0"]}),
    ],
)
def test_options_nobody_reads_or_that_make_no_sense_are_refused(
    driver: str, options: dict[str, object]
) -> None:
    seat = Seat(id=HostId("h1"), name="h1", address="127.0.0.1", folder="/nowhere")
    kind: type[NetworkDriver] = driver_type(NetworkDriver, driver)
    with pytest.raises(Invalid):
        kind(options, seat)


async def test_a_role_that_left_answers_no_more() -> None:
    async with Played() as played:
        assert await played.own.survey() == {}
    with pytest.raises(Unavailable):
        await played.own.survey()


async def test_a_role_started_again_finds_what_it_had_built() -> None:
    network = guest_network()
    async with Played() as first:
        await first.own.ensure_router(network)
    async with Played(first.node) as again:
        assert await again.own.survey() == {network.network: ()}


async def test_the_role_mends_a_router_that_broke_by_itself() -> None:
    network = guest_network()
    nic = guest_nic(network)
    async with Played() as played:
        await played.own.ensure_router(network)
        await played.own.ensure_nic(nic)
        played.world.cut.add(network.network)
        assert await played.own.survey() == {}
        await played.repair()
        assert await played.own.survey() == {network.network: (nic.nic,)}


async def test_the_role_does_not_bring_back_a_router_that_was_taken_away() -> None:
    network = guest_network()
    async with Played() as played:
        await played.own.ensure_router(network)
        await played.own.ensure_no_router(network.network)
        await played.repair()
        assert await played.own.survey() == {}


async def test_a_router_that_cannot_be_mended_does_not_keep_others_from_it() -> None:
    one, two = guest_network(1), guest_network(2)
    async with Played() as played:
        for network in (one, two):
            await played.own.ensure_router(network)
        played.world.routers[one.network] = replace(one, cidr="no range")
        played.world.cut |= {one.network, two.network}
        await played.repair()
        assert played.world.cut == {one.network}


async def test_one_that_lost_its_job_moves_no_card_and_takes_no_router_down() -> None:
    network = guest_network()
    nic = guest_nic(network)
    async with Played() as played:
        with acting(fence=2):
            await played.own.ensure_router(network)
            await played.own.ensure_nic(nic)
        with acting(fence=1):
            for late in (
                played.own.ensure_nic(replace(nic, address="10.1.1.99")),
                played.own.ensure_no_nic(network.network, nic.nic),
                played.own.ensure_plug(network, nic),
                played.own.ensure_no_router(network.network),
            ):
                with pytest.raises(Outdated):
                    await late
        assert await played.own.survey() == {network.network: (nic.nic,)}
        assert played.world.nics[network.network] == {nic.nic: nic}


async def test_jobs_build_in_one_network_side_by_side_and_the_latest_takes_it_down() -> None:
    network = guest_network()
    first, second = guest_nic(network, 1), guest_nic(network, 2)
    async with Played() as played:
        for fence, nic in ((9, first), (4, second)):
            with acting(fence=fence):
                await played.own.ensure_router(network)
                await played.own.ensure_nic(nic)
        assert await played.own.survey() == {
            network.network: tuple(sorted((first.nic, second.nic)))
        }
        with acting(fence=5), pytest.raises(Outdated):
            await played.own.ensure_no_router(network.network)
        with acting(fence=10):
            await played.own.ensure_no_router(network.network)
        assert await played.own.survey() == {}


class Watched(SimNetwork):
    """Notes how many verbs are under way at once."""

    busy = most = 0

    async def ensure_router(self, network: GuestNetwork) -> None:
        self.busy += 1
        self.most = max(self.most, self.busy)
        await asyncio.sleep(0)
        self.busy -= 1


async def test_verbs_on_one_network_wait_for_each_other_and_on_two_do_not() -> None:
    driver = Watched({}, Seat(id=new_id(), name="h1", address="", folder=""))
    host = HostNetwork(driver)
    one, two = guest_network(1), guest_network(2)
    await asyncio.gather(*(host.ensure_router(one) for _ in range(5)))
    assert driver.most == 1
    await asyncio.gather(host.ensure_router(one), host.ensure_router(two))
    assert driver.most == 2
    assert host._locks == {}
