"""Whether packets of guests pass through this host, whatever rules others have made on it.

Frames between two links of a bridge meet the host's own rules: those for bridges always, those
for IP too where br_netfilter is on (net/bridge/bridge-nf-call-iptables), as Docker and others
turn it on along with a FORWARD policy of drop. Nothing of ours breaks then, and guests are alone.
So we send packets as a guest does, and look who is to blame only if they do not arrive. Sources:
nft(8), linux/Documentation/networking/bridge.rst.
"""

from __future__ import annotations

import asyncio
import json
import socket
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import suppress
from ipaddress import IPv4Network
from pathlib import Path
from typing import Any

from csnode.clock import now
from csnode.faults import Fault
from csnode.log import logger
from csnode.model.machine import GuestNetwork
from csnode.types import Struct
from roles.network.drivers.command import batch, links, run
from roles.network.drivers.namespace import PLACE, enter, generation, in_thread

AGAIN_S = 25.0  # before which nothing is tried again
OLD_S = 600.0  # after which the same rules are: xtables' own show no number
WITHIN_S = 0.3  # for one packet to arrive
TRIES = 8  # the kernel asks for the other's link address at once, after 1 s and after 2 s: arp(7)
PORT = 53
CIDR = "10.1.1.0/24"  # of guests, if there are none yet
HEADERS = 28  # of IPv4 and UDP
IP_MTU_DISCOVER, IP_PMTUDISC_PROBE = 10, 3  # linux/in.h: never in pieces
BRIDGED = Path("/proc/sys/net/bridge/bridge-nf-call-iptables")
log = logger("network")


class Way(Struct):
    """What guests of a host need of it: a packet's size, and for the outside two links."""

    cidr: str  # of one of their networks: rules may go by addresses
    mtu: int
    public_bridge: str = ""
    public_cidr: str = ""
    uplink: str = ""  # "": what leaves by the public bridge is bridged, not routed


def way_of(told: Iterable[GuestNetwork], mtu: int, public_bridge: str, uplink: str) -> Way:
    """Return the way of a host's networks; of one that has no router, as it would be."""
    known = sorted(told, key=lambda each: (not each.public_address, each.network))
    outside = not known or bool(known[0].public_address)
    return Way(
        cidr=known[0].cidr if known else CIDR,
        mtu=mtu,
        public_bridge=public_bridge,
        public_cidr=known[0].public_cidr if known else "",
        uplink=uplink if outside else "",
    )


class GuestPath:
    """The path through one host. What was found is kept until the rules change."""

    def __init__(self, prefix: str) -> None:
        self._prefix = prefix
        self._one = asyncio.Lock()
        self._key: tuple[object, ...] = ()
        self._at = 0.0
        self._found: str = ""

    async def look(self, way: Way) -> str:
        """Say what keeps packets of guests from passing, in words; "" if nothing does.

        What cannot be tried (no right, no memory) is not blamed.
        """
        async with self._one:
            key = (way, await in_thread(generation), _bridged())
            age = now() - self._at
            if self._at and (age < AGAIN_S or (key == self._key and age < OLD_S)):
                return self._found
            try:
                found = await blocked(self._prefix, way)
            except (Fault, OSError) as error:
                log.info("the path of guests was not tried", why=str(error))
                found = ""
            if found and found != self._found:
                log.warning("guests are cut off by rules of others", why=found)
            self._key, self._at, self._found = key, now(), found
            return found


async def blocked(prefix: str, way: Way) -> str:
    """Try the path now. Raises Refused, Unavailable and OSError."""
    size = await passes(prefix, way) or await passes(prefix, way)  # a second process may be at it
    if size == way.mtu:
        words = (way.public_bridge, way.uplink, way.public_cidr.partition("/")[0])
        chains = undecided(await _rules(), words) if way.uplink else []
        return _cut_off_from_outside(chains, way) if chains else ""
    if size:
        return f"packets of {way.mtu} bytes are dropped between two links of a bridge"
    blamed = ", ".join(dropping(await _rules(), bridged=_bridged()))
    return (
        "packets between two links of a bridge are dropped by "
        f"{blamed or 'rules that nft does not show'}: guests are cut off; accept there what "
        f"enters and leaves by {prefix}*, or set net.bridge.bridge-nf-call-iptables = 0"
    )


def _cut_off_from_outside(chains: Sequence[str], way: Way) -> str:
    return (
        f"{', '.join(chains)} drops what the host forwards, and no rule there names "
        f"{way.public_bridge} or {way.uplink}: guests do not reach the outside; accept what is "
        "forwarded between the two"
    )


async def passes(prefix: str, way: Way) -> int:
    """Return the size of the largest packet that passed a bridge made for it: mtu, 64 or 0.

    Its links are called like those of routers and machines, so rules by name count. It takes
    about 0.1 s, and leaves nothing. Raises Refused, Unavailable and OSError.
    """
    bridge, ends = f"{prefix}bprobe", (f"{prefix}gprobe", f"{prefix}vprobe")
    spaces = (f"{prefix}q-one", f"{prefix}q-two")
    whole, mtu = IPv4Network(way.cidr), way.mtu
    addresses = [str(whole.network_address + 1 + n) for n in range(2)]
    await _clear(bridge, ends, spaces)
    try:
        await batch(
            [
                *(f"netns add {space}" for space in spaces),
                f"link add {bridge} mtu {mtu} type bridge forward_delay 0 mcast_snooping 0",
                *(
                    f"link add {end} mtu {mtu} master {bridge} type veth peer name eth0 mtu {mtu}"
                    f" netns {space}"
                    for end, space in zip(ends, spaces, strict=True)
                ),
                *(f"link set {link} up" for link in (*ends, bridge)),
            ]
        )
        for space, address in zip(spaces, addresses, strict=True):
            lines = [f"addr add {address}/{whole.prefixlen} dev eth0", "link set eth0 up"]
            await batch(lines, namespace=space)
        return await in_thread(lambda: _arrived(spaces, addresses, (mtu, 64)))
    finally:
        await _clear(bridge, ends, spaces)


async def _clear(bridge: str, ends: Sequence[str], spaces: Sequence[str]) -> None:
    found = await links()
    lines = [f"link del {link}" for link in (*ends, bridge) if link in found]
    lines += [f"netns del {space}" for space in spaces if (PLACE / space).exists()]
    if lines:
        await batch(lines, force=True)


def _arrived(spaces: Sequence[str], addresses: Sequence[str], sizes: tuple[int, int]) -> int:
    """Send packets of both sizes from the first to the second; return the largest that arrived.

    Runs in a thread of its own, which changes place.
    """
    receiver, sender = (_bound(spaces[n], addresses[n]) for n in (1, 0))
    arrived = 0
    with receiver, sender:
        sender.setsockopt(socket.IPPROTO_IP, IP_MTU_DISCOVER, IP_PMTUDISC_PROBE)
        for _ in range(TRIES):
            for size in sizes:
                sender.sendto(bytes(size - HEADERS), (addresses[1], PORT))
            with suppress(TimeoutError):
                while arrived < max(sizes):
                    arrived = max(arrived, len(receiver.recv(65535)) + HEADERS)
                return arrived
    return arrived


def _bound(space: str, address: str) -> socket.socket:
    enter(space)
    made = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    made.settimeout(WITHIN_S)
    made.bind((address, PORT))
    return made


# -- who is to blame -------------------------------------------------------------------------


def dropping(rules: Sequence[Mapping[str, Any]], *, bridged: bool) -> list[str]:
    """Return the chains that may drop what a bridge forwards: by policy, or by a rule of theirs."""
    families = {"bridge", "netdev", *(("ip", "inet") if bridged else ())}
    hooks = {"forward", "prerouting", "input", "postrouting"}
    return [
        _name(chain)
        for chain in _chains(rules)
        if chain["family"] in families
        and chain.get("hook") in hooks
        and (chain.get("policy") == "drop" or _says(rules, chain, ('"drop"', '"reject"', '"jump"')))
    ]


def undecided(rules: Sequence[Mapping[str, Any]], words: Sequence[str]) -> list[str]:
    """Return the chains that drop by policy what the host routes; their tables say no such word."""
    return [
        _name(chain)
        for chain in _chains(rules)
        if chain["family"] in ("ip", "inet")
        and chain.get("hook") == "forward"
        and chain.get("policy") == "drop"
        and not _says(rules, {"family": chain["family"], "table": chain["table"]}, words)
    ]


def _chains(rules: Sequence[Mapping[str, Any]]) -> Iterator[Mapping[str, Any]]:
    return (entry["chain"] for entry in rules if "chain" in entry)


def _name(chain: Mapping[str, Any]) -> str:
    policy = f" (policy {chain['policy']})" if "policy" in chain else ""
    return f"{chain['family']} {chain['table']} {chain['name']}{policy}"


def _says(rules: Sequence[Mapping[str, Any]], of: Mapping[str, Any], words: Sequence[str]) -> bool:
    """Tell whether a rule of the chain, or of all the table without a chain, has a word in it."""
    where = {key: of[key] for key in ("family", "table") if key in of}
    if "name" in of:
        where["chain"] = of["name"]
    ours = (e["rule"] for e in rules if "rule" in e and where.items() <= e["rule"].items())
    texts = [json.dumps(rule["expr"]) for rule in ours if "expr" in rule]
    return any(word and word in text for word in words for text in texts)


async def _rules() -> list[dict[str, Any]]:
    """Read the host's whole rule set."""
    return json.loads(await run("nft", "-j", "list", "ruleset") or '{"nftables": []}')["nftables"]


def _bridged() -> bool:
    """Tell whether bridged frames meet the host's rules for IP."""
    try:
        return BRIDGED.read_text().strip() == "1"
    except OSError:
        return False
