"""The rules of csnode.drivers.network, as tests.

Subclass NetworkSuite, say how to make a driver and how to cut a router, and pytest does the rest.
A driver must be able to be made twice on the same host: the second finds what the first one left.
"""

from __future__ import annotations

import os
from abc import abstractmethod

import pytest
from msgspec.structs import replace

from csnode.drivers.network import NetworkDriver
from csnode.faults import Conflict, Invalid
from csnode.model.machine import FoundNetwork, FoundNic, GuestNetwork, GuestNic
from csnode.types import NetworkId, NicId, VmId
from csnode.uuids import new_id

VNI = 1_000_000 + os.getpid() % 100_000 * 100
"""Networks are numbered from here: the host has each number once, and tests run side by side."""


def guest_network(number: int = 1, cidr: str = "10.1.1.0/24") -> GuestNetwork:
    """Return a new network; every one may have the same range, each its own public address."""
    return GuestNetwork(
        network=NetworkId(new_id()),
        name=f"net {number}",
        vni=VNI + number,
        cidr=cidr,
        gateway=cidr.replace(".0/24", ".1"),
        domain="cs1cloud.internal",
        public_address=f"198.51.100.{10 + number}",
        public_cidr="198.51.100.0/24",
        public_gateway="198.51.100.1",
    )


def guest_nic(network: GuestNetwork, number: int = 1) -> GuestNic:
    """Return a card in that network."""
    nic = NicId(new_id())
    return GuestNic(
        nic=nic,
        network=network.network,
        vm=VmId(new_id()),
        mac=f"02:01:00:{nic[:2]}:{nic[2:4]}:{number:02x}",
        address=network.gateway.rpartition(".")[0] + f".{50 + number}",
        hostname=f"web-{number}",
        metadata={"instance-id": f"i-{number}", "local-hostname": f"web-{number}"},
        user_data=f"#!/bin/sh\necho {number}\n".encode(),
    )


BAD_NETWORKS = {
    "a gateway outside the range": {"gateway": "10.9.9.1"},
    "a range with a second line": {"cidr": "10.1.1.0/24\nflush ruleset"},
    "a range with a host part": {"cidr": "10.1.1.7/24"},
    "a range that the world has": {"cidr": "8.8.8.0/24", "gateway": "8.8.8.1"},
    "a range that nobody has": {"cidr": "0.0.0.0/24", "gateway": "0.0.0.1"},
    "a range too large": {"cidr": "10.0.0.0/15"},
    "a DNS server that is everybody": {"dns": ("224.0.0.1",)},
    "a DNS server beyond IPv4": {"dns": ("2001:db8::53",)},
    "a public address at the end of its range": {"public_address": "198.51.100.255"},
    "a domain with a second line": {"domain": "a.b\naddress=/#/203.0.113.1"},
    "a DNS server that is none": {"dns": ("192.0.2.1 --port=1",)},
    "a DNS server with a scope": {"dns": ("fe80::1%x\nlog-queries",)},
    "a public address outside the range": {"public_address": "192.0.2.5"},
    "the public gateway as address": {"public_address": "198.51.100.1"},
    "a public range that is the guests'": {
        "public_cidr": "10.1.0.0/16", "public_address": "10.1.0.9", "public_gateway": "10.1.0.1"
    },
}  # fmt: skip
BAD_NICS = {
    "an address outside the network": {"address": "10.9.9.9"},
    "the gateway's address": {"address": "10.1.1.1"},
    "an address with a second line": {"address": "10.1.1.51\n1.2.3.4 x"},
    "a MAC address with more behind it": {"mac": "02:00:00:00:00:01,ignore"},
    "a multicast MAC address": {"mac": "01:00:5e:00:00:01"},
    "an id that leads elsewhere": {"nic": "../../x"},
    "a host name with a second line": {"hostname": "web\n10.1.1.1 evil"},
    "a host name with a command": {"hostname": "$(reboot)"},
    "a host name with a hyphen first": {"hostname": "-web"},
    "an endless host name": {"hostname": "w" * 64},
    "no host name": {"hostname": ""},
    "a host name that begins with a digit": {"hostname": "12h"},
    "the router's own name": {"hostname": "data-server"},
    "every guest's own name": {"hostname": "localhost"},
    "a MAC address that is none": {"mac": "00:00:00:00:00:00"},
    "a MAC address that libvirt keeps": {"mac": "fe:00:00:00:00:01"},
    "a MAC address in another form": {"mac": "02-00-00-00-00-01"},
    "a metadata file elsewhere": {"metadata": {"../secret": "x"}},
    "user data without end": {"user_data": b"x" * (1024 * 1024 + 1)},
}


class NetworkSuite:
    """What every network driver keeps to."""

    @abstractmethod
    def make(self, address: str = "127.0.0.1") -> NetworkDriver:
        """Return a driver on this test's own host; a second one on the same host if asked again.

        The host is reached at that address.
        """

    @abstractmethod
    async def leads(self, network: GuestNetwork) -> set[str]:
        """Return the addresses of the other hosts to which the network's bridge leads from here."""

    @abstractmethod
    async def cut(self, network: GuestNetwork) -> None:
        """Break the network's router from outside, behind the driver's back."""

    @abstractmethod
    async def plug_in(self, bridge: str) -> None:
        """Plug something into the bridge, as a hypervisor does with a machine's card."""

    @abstractmethod
    async def unplug(self, bridge: str) -> None:
        """Pull out what was plugged in."""

    async def test_asking_twice_is_asking_once(self) -> None:
        network = guest_network()
        nic = guest_nic(network)
        async with self.make() as driver:
            for _ in range(2):
                await driver.ensure_router(network)
            for _ in range(2):
                await driver.ensure_nic(nic)
            assert await driver.survey() == {network.network: (nic.nic,)}

    async def test_what_is_absent_may_be_removed(self) -> None:
        network = guest_network()
        nic = guest_nic(network)
        async with self.make() as driver:
            await driver.ensure_no_nic(network.network, nic.nic)
            await driver.ensure_no_router(network.network)
            await driver.ensure_router(network)
            await driver.ensure_no_nic(network.network, nic.nic)
            for _ in range(2):
                await driver.ensure_no_router(network.network)
            assert await driver.survey() == {}

    async def test_cards_come_and_go_one_by_one(self) -> None:
        network = guest_network()
        first, second = guest_nic(network, 1), guest_nic(network, 2)
        async with self.make() as driver:
            await driver.ensure_router(network)
            await driver.ensure_nic(first)
            await driver.ensure_nic(second)
            assert await driver.survey() == {
                network.network: tuple(sorted((first.nic, second.nic)))
            }
            await driver.ensure_no_nic(network.network, first.nic)
            assert await driver.survey() == {network.network: (second.nic,)}

    async def test_networks_of_the_same_range_stand_side_by_side(self) -> None:
        one, two = guest_network(1), guest_network(2)
        async with self.make() as driver:
            for network in (one, two):
                await driver.ensure_router(network)
                await driver.ensure_nic(guest_nic(network))
            await driver.ensure_no_router(one.network)
            assert list(await driver.survey()) == [two.network]

    async def test_what_was_made_outlives_the_driver(self) -> None:
        network = guest_network()
        nic = guest_nic(network)
        async with self.make() as driver:
            await driver.ensure_router(network)
            await driver.ensure_nic(nic)
        async with self.make() as driver:
            assert await driver.survey() == {network.network: (nic.nic,)}
            await driver.ensure_no_router(network.network)
        async with self.make() as driver:
            assert await driver.survey() == {}

    async def test_a_cut_router_is_left_out_until_it_is_told_again(self) -> None:
        network, whole = guest_network(1), guest_network(2)
        nic = guest_nic(network)
        async with self.make() as driver:
            await driver.ensure_router(network)
            await driver.ensure_router(whole)
            await driver.ensure_nic(nic)
            await self.cut(network)
            assert await driver.survey() == {whole.network: ()}
            await driver.ensure_router(network)
            assert await driver.survey() == {network.network: (nic.nic,), whole.network: ()}

    async def test_a_cut_router_can_be_removed(self) -> None:
        network = guest_network()
        nic = guest_nic(network)
        async with self.make() as driver:
            await driver.ensure_router(network)
            await driver.ensure_nic(nic)
            await self.cut(network)
            await driver.ensure_no_nic(network.network, nic.nic)
            await driver.ensure_no_router(network.network)
            assert await driver.survey() == {}

    async def test_a_network_may_change_its_public_address(self) -> None:
        network = guest_network()
        nic = guest_nic(network)
        async with self.make() as driver:
            await driver.ensure_router(network)
            await driver.ensure_nic(nic)
            await driver.ensure_router(replace(network, public_address="198.51.100.99"))
            assert await driver.survey() == {network.network: (nic.nic,)}

    async def test_a_card_may_change(self) -> None:
        network = guest_network()
        nic = guest_nic(network)
        async with self.make() as driver:
            await driver.ensure_router(network)
            await driver.ensure_nic(nic)
            await driver.ensure_nic(replace(nic, hostname="db", address="10.1.1.77"))
            assert await driver.survey() == {network.network: (nic.nic,)}

    async def test_a_card_needs_a_router_first(self) -> None:
        async with self.make() as driver:
            with pytest.raises(Conflict):
                await driver.ensure_nic(guest_nic(guest_network()))

    async def test_no_address_has_two_cards(self) -> None:
        network = guest_network()
        first, second = guest_nic(network, 1), guest_nic(network, 2)
        async with self.make() as driver:
            await driver.ensure_router(network)
            await driver.ensure_nic(first)
            with pytest.raises(Conflict):
                await driver.ensure_nic(replace(second, address=first.address))
            with pytest.raises(Conflict):
                await driver.ensure_nic(replace(second, mac=first.mac))
            assert await driver.survey() == {network.network: (first.nic,)}
            await driver.ensure_no_nic(network.network, first.nic)
            await driver.ensure_nic(replace(second, address=first.address))

    async def test_a_plug_needs_no_router_and_is_the_same_when_asked_again(self) -> None:
        network = guest_network()
        nic = guest_nic(network)
        async with self.make() as driver:
            plug = await driver.ensure_plug(network, nic)
            assert (plug.nic, plug.mac) == (nic.nic, nic.mac)
            assert await driver.survey() == {}
            await driver.ensure_router(network)
            assert await driver.ensure_plug(network, nic) == plug
            await driver.ensure_no_router(network.network)

    async def test_plugs_of_two_networks_are_apart(self) -> None:
        one, two = guest_network(1), guest_network(2)
        async with self.make() as driver:
            first = await driver.ensure_plug(one, guest_nic(one))
            second = await driver.ensure_plug(two, guest_nic(two))
            assert first.bridge != second.bridge

    async def test_a_bridge_stays_while_a_machine_is_plugged_in(self) -> None:
        network = guest_network()
        nic = guest_nic(network)
        async with self.make() as driver:
            await driver.ensure_router(network)
            plug = await driver.ensure_plug(network, nic)
            await self.plug_in(plug.bridge)
            with pytest.raises(Conflict):
                await driver.ensure_no_router(network.network)
            assert await driver.survey() == {}
            await self.unplug(plug.bridge)
            await driver.ensure_no_router(network.network)

    async def test_a_look_inside_finds_each_network_as_it_was_told(self) -> None:
        one, two = sorted((guest_network(1), guest_network(2)), key=lambda n: n.network)
        nics = sorted((guest_nic(one, 1), guest_nic(one, 2)), key=lambda nic: nic.nic)
        cards = tuple(FoundNic(nic=n.nic, vm=n.vm, mac=n.mac, address=n.address) for n in nics)
        async with self.make() as driver:
            assert await driver.inspect() == ()
            for network in (one, two):
                await driver.ensure_router(network)
            for nic in nics:
                await driver.ensure_nic(nic)
            assert await driver.inspect() == (
                FoundNetwork(network=one.network, told=one, nics=cards, mtu=1450),
                FoundNetwork(network=two.network, told=two, mtu=1450),
            )
            await self.cut(one)
            first, second = await driver.inspect()
            assert (first.network, first.told, first.nics) == (one.network, one, cards)
            assert first.trouble
            assert not second.trouble
            await driver.ensure_no_router(one.network)
            assert await driver.inspect() == (second,)

    async def test_a_bridge_without_a_router_is_found_and_can_be_removed(self) -> None:
        network = guest_network()
        async with self.make() as driver:
            plug = await driver.ensure_plug(network, guest_nic(network))
            await self.plug_in(plug.bridge)
            [found] = await driver.inspect()
            assert found.network in {network.network, network.network[:8]}
            assert (found.told, found.nics, found.trouble, found.plugged) == (None, (), "", 1)
            await self.unplug(plug.bridge)
            [found] = await driver.inspect()
            assert found.plugged == 0
            await driver.ensure_no_router(found.network)
            assert await driver.inspect() == ()

    async def test_networks_lead_to_the_hosts_named_and_to_no_other(self) -> None:
        one, two = guest_network(1), guest_network(2)
        async with self.make("198.18.0.1") as driver:
            await driver.ensure_router(one)
            assert await self.leads(one) == set()
            for _ in range(2):
                await driver.reach(["198.18.0.2", "198.18.0.3"])
            await driver.ensure_plug(two, guest_nic(two))
            for network in (one, two):
                assert await self.leads(network) == {"198.18.0.2", "198.18.0.3"}
            await driver.reach(["198.18.0.3", "198.18.0.4", "127.0.0.1"])
            for network in (one, two):
                assert await self.leads(network) == {"198.18.0.3", "198.18.0.4"}
            await driver.reach([])
            assert await self.leads(one) == set()
            for network in (one, two):
                await driver.ensure_no_router(network.network)

    async def test_the_way_to_other_hosts_outlives_the_driver(self) -> None:
        network = guest_network()
        async with self.make("198.18.0.1") as driver:
            await driver.ensure_router(network)
            await driver.reach(["198.18.0.2"])
        assert await self.leads(network) == {"198.18.0.2"}
        async with self.make("198.18.0.1") as driver:
            await driver.ensure_router(network)
            assert await self.leads(network) == {"198.18.0.2"}
            await driver.ensure_no_router(network.network)

    async def test_a_host_that_others_cannot_reach_leads_nowhere(self) -> None:
        network = guest_network()
        async with self.make() as driver:
            await driver.reach(["198.18.0.2"])
            await driver.ensure_router(network)
            assert await self.leads(network) == set()
        async with self.make("198.18.0.1") as driver:  # now they can
            await driver.reach(["198.18.0.2"])
            assert await self.leads(network) == {"198.18.0.2"}
            await driver.ensure_no_router(network.network)

    @pytest.mark.parametrize("bad", BAD_NETWORKS)
    async def test_a_network_that_makes_no_sense_is_refused_whole(self, bad: str) -> None:
        network = replace(guest_network(), **BAD_NETWORKS[bad])
        async with self.make() as driver:
            with pytest.raises(Invalid):
                await driver.ensure_router(network)
            with pytest.raises(Invalid):
                await driver.ensure_plug(network, guest_nic(guest_network()))
            assert await driver.survey() == {}

    @pytest.mark.parametrize("bad", BAD_NICS)
    async def test_a_card_that_makes_no_sense_is_refused_whole(self, bad: str) -> None:
        network = guest_network()
        nic = replace(guest_nic(network), **BAD_NICS[bad])
        async with self.make() as driver:
            await driver.ensure_router(network)
            with pytest.raises(Invalid):
                await driver.ensure_nic(nic)
            with pytest.raises(Invalid):
                await driver.ensure_plug(network, nic)
            assert await driver.survey() == {network.network: ()}
