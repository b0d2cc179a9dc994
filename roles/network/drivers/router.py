"""One network's router: what of it is missing, and how each part is made.

A router works in four parts: wires (bridge, namespace, links, addresses), rules, dnsmasq, and
metadata. What stands as told is left alone, so mending DHCP cuts no connection.
"""

from __future__ import annotations

from enum import StrEnum
from ipaddress import IPv4Network

from csnode.faults import Refused
from csnode.model.machine import GuestNetwork
from csnode.types import Struct
from roles.network.drivers import command, dnsmasq, render
from roles.network.drivers.command import Link, batch, run
from roles.network.drivers.namespace import (
    PLACE,
    Side,
    Sight,
    change_settings,
    enter,
    generation,
    in_thread,
    inside,
)
from roles.network.drivers.told import RulesMark, Told
from roles.network.drivers.tunnels import Tunnels


class Part(StrEnum):
    """What a router consists of."""

    WIRES = "wires"
    MTU = "mtu"
    RULES = "rules"
    DNSMASQ = "dnsmasq"
    METADATA = "metadata"


Links = dict[str, Link]


class Scene(Struct):
    """All there is to see of one router: from the host, and from its own namespace."""

    links: Links
    daemons: tuple[dnsmasq.Daemon, ...]
    sight: Sight | None
    served: int  # the inode of the namespace where its metadata is answered
    mtu: int = render.MTU  # what the host can carry for guests


def missing(told: Told, names: render.Names, scene: Scene, public_bridge: str) -> frozenset[Part]:
    """Return the parts that are not as told. Without wires nothing else counts."""
    sight, network = scene.sight, told.network
    if sight is None or not _wired(network, names, scene.links, sight, public_bridge):
        return frozenset(Part)
    lacking: set[Part] = set()
    if mtu_lines(names, scene.links, scene.mtu):
        lacking.add(Part.MTU)
    if told.mark != mark_of(network, sight.inode, sight.generation):
        lacking.add(Part.RULES)
    if not dnsmasq.serves(scene.daemons, told, sight.inode, scene.mtu):
        lacking.add(Part.DNSMASQ)
    if scene.served != sight.inode:
        lacking.add(Part.METADATA)
    return frozenset(lacking)


def mark_of(network: GuestNetwork, inode: int, generation: int) -> RulesMark:
    """Return the mark of this network's rules, loaded into that namespace as that change."""
    text = render.digest(render.rules(network))
    return RulesMark(text=text, inode=inode, generation=generation)


def _wired(
    network: GuestNetwork, names: render.Names, links: Links, sight: Sight, public_bridge: str
) -> bool:
    public: Side | None = None
    plugs = {names.guest_end: names.bridge}
    if network.public_address:
        public = _side(network.public_address, network.public_cidr)
        plugs[names.public_end] = public_bridge
    return (
        sight.guest == _side(network.gateway, network.cidr)
        and sight.public == public
        and sight.default_route == (network.public_gateway if public else "")
        and sight.forwards
        and all(_plugged(links, end, bridge) for end, bridge in plugs.items())
    )


def _side(address: str, cidr: str) -> Side:
    return Side(address=address, netmask=str(IPv4Network(cidr).netmask), up=True)


def _plugged(links: Links, end: str, bridge: str) -> bool:
    return (
        end in links
        and bridge in links
        and links[end].master == bridge
        and links[end].up
        and links[bridge].up
    )


def mtu_lines(names: render.Names, links: Links, mtu: int) -> list[str]:
    """Return the lines that give the network's links on the host that MTU."""
    own = (names.bridge, names.vxlan, names.guest_end)
    return [f"link set {n} mtu {mtu}" for n in own if n in links and links[n].mtu != mtu]


async def ensure_mtu(names: render.Names, links: Links, mtu: int) -> None:
    """Set the MTU at the router's end first: that it was done is seen by the host's."""
    await batch([f"link set eth0 mtu {mtu}"], namespace=names.namespace)
    await batch(mtu_lines(names, links, mtu))


async def ensure_bridge(
    names: render.Names, links: Links, vni: int, tunnels: Tunnels, mtu: int
) -> None:
    """Make the guest bridge, and if this host has a tunnel address the VXLAN link in it."""
    lines: list[str] = []
    if names.bridge not in links:
        lines += render.bridge_lines(names, mtu)
    elif not links[names.bridge].up:
        lines.append(f"link set {names.bridge} up")
    lines += mtu_lines(names, {n: links[n] for n in (names.bridge, names.vxlan) if n in links}, mtu)
    if lines:
        await batch(lines)
    if names.bridge not in links:
        change_settings(render.bridge_settings(names))
    if tunnels.local and names.vxlan not in links:
        await tunnels.ensure(names, vni, mtu)


async def wire(
    names: render.Names, network: GuestNetwork, public_bridge: str, mtu: int
) -> RulesMark:
    """Make namespace, links, rules, addresses, in this order: nothing is up before rules are."""
    await batch(render.wire_lines(names, public_bridge if network.public_address else "", mtu))
    mark = await load_rules(names, network)
    await inside(names.namespace, lambda: change_settings(render.router_settings(network)))
    await batch(render.router_lines(network), namespace=names.namespace)
    return mark


async def load_rules(names: render.Names, network: GuestNetwork) -> RulesMark:
    """Replace the router's rules in one go; answers their mark."""
    place = f"--net={PLACE / names.namespace}"
    await run("nsenter", place, "nft", "-f", "-", text=render.rules(network))
    inode, number = await in_thread(lambda: (enter(names.namespace), generation()))
    return mark_of(network, inode, number)


async def unwire(names: render.Names, links: Links) -> None:
    """Remove namespace and links; the bridge stays.

    The links go first, by their host's ends: the kernel takes a namespace apart later, and not
    at all while some process is left in it.
    """
    ends = [end for end in (names.guest_end, names.public_end) if end in links]
    lines = [f"link del {end}" for end in ends]
    if (PLACE / names.namespace).exists():
        lines.append(f"netns del {names.namespace}")
    if not lines:
        return
    try:
        await batch(lines, force=True)
    except Refused:  # a namespace that was deleted before takes its links along, just now
        left = await command.links()
        if any(end in left for end in ends) or (PLACE / names.namespace).exists():
            raise


def plugged_in(names: render.Names, links: Links) -> list[str]:
    """Return guests' cards on the bridge: every port that is not ours."""
    ours = {names.guest_end, names.vxlan}
    return sorted(p.name for p in links.values() if p.master == names.bridge and p.name not in ours)


async def drop_bridge(names: render.Names, links: Links) -> None:
    """Remove bridge and tunnel."""
    lines = [f"link del {link}" for link in (names.vxlan, names.bridge) if link in links]
    if lines:
        await batch(lines)
