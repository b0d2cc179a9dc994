"""What a router is made of, as text: `ip -batch` lines, nftables rules, dnsmasq's files.

Pure functions of what the driver was told; every field was checked before (see checks.py).
Sources: ip-link(8), ip-batch in ip(8), nft(8), dnsmasq(8), linux/Documentation/networking/
ip-sysctl.rst.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from functools import lru_cache
from hashlib import sha256
from ipaddress import IPv4Network

from csnode.faults import Invalid
from csnode.model.machine import GuestNetwork, GuestNic
from csnode.model.rules import DATA_SERVER, SPECIAL_NAMES
from csnode.types import NetworkId, Struct

MTU = 1450  # room for a VXLAN header in 1500
VXLAN_HEADERS = 50  # RFC 7348, 5: IPv4, UDP, VXLAN, and the guest's own Ethernet header
MTU_MIN = 576  # what every IPv4 host takes (RFC 791); dnsmasq tells no less
VXLAN_PORT = 4789  # RFC 7348
FLOOD = "00:00:00:00:00:00"
SHORT = r"[0-9a-f]{8}"
UUID = r"[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}"


class Names(Struct):
    """What the parts of one network are called on its host."""

    bridge: str
    namespace: str
    guest_end: str  # host's end of the link that is eth0 in the router
    public_end: str  # host's end of eth1
    vxlan: str
    guest_mac: str  # eth0's
    public_mac: str  # eth1's
    bridge_mac: str


@lru_cache(maxsize=4096)
def names_of(prefix: str, network: NetworkId, host: str) -> Names:
    """Return names within the kernel's 15 characters, and addresses that a rebuilt router keeps.

    Guests and the outside remember a router's MAC address: with one that follows from the
    network's id, a rebuilt router is reached at once. Raises Invalid if the id is no UUID.
    """
    if not re.fullmatch(UUID, network):
        raise Invalid(f"network id {network!r} is not a UUID in small letters")
    short = network[:8]
    return Names(
        bridge=f"{prefix}b{short}",
        namespace=f"{prefix}r-{short}",
        guest_end=f"{prefix}g{short}",
        public_end=f"{prefix}p{short}",
        vxlan=f"{prefix}x{short}",
        guest_mac=mac_of(network, "guest"),
        public_mac=mac_of(network, "public"),
        bridge_mac=mac_of(network, "bridge", host),  # one network has a bridge on each host,
    )


def names_of_remains(prefix: str, id: str) -> Names:
    """Name what may be left of a network, of whose id only eight digits may be known.

    Only to find and remove: the addresses are not its own.
    """
    if not re.fullmatch(rf"{SHORT}|{UUID}", id):
        raise Invalid(f"network id {id!r} is neither a UUID in small letters nor eight digits")
    return names_of(prefix, NetworkId(f"{id[:8]}-0000-0000-0000-000000000000"), "")


def mac_of(*names: str) -> str:
    """Return a locally administered unicast MAC address: the same names give the same one."""
    return "0a:" + sha256("/".join(names).encode()).digest()[:5].hex(":")


def bridge_lines(names: Names, mtu: int) -> list[str]:
    """Return the lines for the guest bridge.

    Its MAC and MTU are fixed, or they would change with every card plugged in. The kernel counts
    the MTU as fixed once it was changed (br_change_mtu), not as it was made.
    """
    return [
        f"link add {names.bridge} address {names.bridge_mac} mtu {mtu - 1} type bridge"
        " forward_delay 0 mcast_snooping 0",
        f"link set {names.bridge} mtu {mtu} up",
    ]


def bridge_settings(names: Names) -> dict[str, str]:
    """Return kernel settings that keep guests from talking to the host over its bridge's end.

    A bridge without addresses still answers for those of the host's other links (ARP) and would
    route: no answers, no forwarding, no packet from a source that is not routed there, no IPv6.
    """
    return {
        f"net/ipv6/conf/{names.bridge}/disable_ipv6": "1",
        f"net/ipv4/conf/{names.bridge}/arp_ignore": "8",
        f"net/ipv4/conf/{names.bridge}/rp_filter": "1",
        f"net/ipv4/conf/{names.bridge}/forwarding": "0",
    }


def vxlan_lines(names: Names, vni: int, local: str, mtu: int) -> list[str]:
    """Return the lines for the link to the network's bridges on other hosts (RFC 7348)."""
    return [
        f"link add {names.vxlan} mtu {mtu} master {names.bridge} type vxlan id {vni}"
        f" dstport {VXLAN_PORT} local {local} learning",
        f"link set {names.vxlan} up",
    ]


def flood_lines(tunnel: str, peers: Sequence[str]) -> list[str]:
    """Return lines for `bridge -batch`: copies of what has no known place go to those hosts too."""
    return [f"fdb append {FLOOD} dev {tunnel} dst {peer}" for peer in peers]


def dry_lines(tunnel: str, peers: Sequence[str]) -> list[str]:
    """Return lines for `bridge -batch`: such copies go to those hosts no more."""
    return [f"fdb del {FLOOD} dev {tunnel} dst {peer}" for peer in peers]


def wire_lines(names: Names, public_bridge: str, mtu: int) -> list[str]:
    """Return the lines for the router's namespace and links; without a public side if it is ""."""
    lines = [
        f"netns add {names.namespace}",
        f"link add {names.guest_end} mtu {mtu} master {names.bridge} type veth peer name eth0"
        f" address {names.guest_mac} mtu {mtu} netns {names.namespace}",
        f"link set {names.guest_end} up",
    ]
    if public_bridge:
        lines += [
            f"link add {names.public_end} master {public_bridge} type veth peer name eth1"
            f" address {names.public_mac} netns {names.namespace}",
            f"link set {names.public_end} up",
        ]
    return lines


def router_lines(network: GuestNetwork) -> list[str]:
    """Return the lines for addresses and the default route, within the namespace."""
    guest = IPv4Network(network.cidr)
    lines = [
        "link set lo up",
        f"addr add {network.gateway}/{guest.prefixlen} brd + dev eth0",
        "link set eth0 up",
    ]
    if network.public_address:
        public = IPv4Network(network.public_cidr)
        lines += [
            f"addr add {network.public_address}/{public.prefixlen} brd + dev eth1",
            "link set eth1 up",
            f"route add default via {network.public_gateway}",
        ]
    return lines


def router_settings(network: GuestNetwork) -> dict[str, str]:
    """Return kernel settings of the namespace.

    They are set once its rules stand, and before its links are up.
    """
    settings = {
        "net/ipv6/conf/all/disable_ipv6": "1",  # or a guest's router advertisement would count
        "net/ipv6/conf/default/disable_ipv6": "1",
        "net/ipv4/conf/all/rp_filter": "1",
        "net/ipv4/ip_forward": "1",
    }
    if network.public_address:
        settings["net/ipv4/conf/eth1/arp_notify"] = "1"  # the address may have moved here
    return settings


def rules(network: GuestNetwork) -> str:
    """Return the router's whole rule set, for `nft -f`: it replaces what there was in one go."""
    guest = IPv4Network(network.cidr)
    out = ""
    if network.public_address:
        out = f'iifname "eth0" oifname "eth1" ip saddr {guest} accept'
        out = f"    {out}\n"
    text = f"""flush ruleset
table inet router {{
  chain c_forward {{
    type filter hook forward priority filter; policy drop;
    ct state invalid drop
    ct state established,related accept
{out}  }}
  chain c_input {{
    type filter hook input priority filter; policy drop;
    ct state invalid drop
    ct state established,related accept
    iifname "lo" accept
    iifname "eth0" icmp type echo-request accept
    iifname "eth0" udp dport {{ 53, 67 }} accept
    iifname "eth0" tcp dport {{ 53, 80, 8080 }} accept
  }}
}}
"""
    if network.public_address:
        text += f"""table ip nat {{
  chain c_out {{
    type nat hook postrouting priority srcnat; policy accept;
    oifname "eth1" ip saddr {guest} snat to {network.public_address}
  }}
}}
"""
    return text


def uplink_rules(table: str, uplink: str, cidrs: Sequence[str]) -> str:
    """Return the host's own table: the public ranges leave by the uplink under its address."""
    lines = [f'oifname "{uplink}" ip saddr {cidr} masquerade' for cidr in cidrs]
    return "\n".join(
        [
            f"table ip {table} {{}}",
            f"delete table ip {table}",
            f"table ip {table} {{",
            "  chain c_out {",
            "    type nat hook postrouting priority srcnat; policy accept;",
            *(f"    {line}" for line in lines),
            "  }",
            "}\n",
        ]
    )


def dnsmasq_conf(network: GuestNetwork, folder: str, mtu: int) -> str:
    """Write dnsmasq's configuration: addresses only for cards it is told of, names only of ours.

    What a guest calls itself is ignored; its name comes from the hosts files, and with its
    address by DHCP. The log goes to syslog, which limits what guests can fill.
    """
    guest = IPv4Network(network.cidr)
    lines = [
        "interface=eth0",
        "except-interface=lo",
        "bind-interfaces",
        "no-resolv",
        "no-hosts",
        "no-poll",
        "domain-needed",
        "bogus-priv",
        "quiet-dhcp",
        "dhcp-authoritative",
        "dhcp-ignore-names",
        f"dhcp-range={guest.network_address},static,{guest.netmask},12h",
        f"dhcp-option=option:router,{network.gateway}",
        f"dhcp-option=option:dns-server,{network.gateway}",
        f"dhcp-option=option:mtu,{mtu}",
        f"dhcp-hostsdir={folder}/dhcp",
        f"hostsdir={folder}/hosts",
        f"dhcp-leasefile={folder}/leases",
        f"pid-file={folder}/pid",
        *_special_names(network),
    ]
    if network.domain:
        lines += [f"domain={network.domain}", f"local=/{network.domain}/", "expand-hosts"]
    lines += [f"server={server}" for server in network.dns]
    return "\n".join(lines) + "\n"


def _special_names(network: GuestNetwork) -> list[str]:
    """Return lines for dnsmasq: names that stand in every network, for all kinds of question.

    With address= the question for AAAA would be NXDOMAIN, which musl takes for A too; and
    systemd-resolved asks for names of one label under the domain only.
    """
    names = [f"{DATA_SERVER}.{network.domain}"] if network.domain else []
    names.append(DATA_SERVER)
    return [
        f"host-record={','.join(names)},{network.gateway}",
        "host-record=localhost,127.0.0.1,::1",  # RFC 6761, 6.3
        *(f"local=/{name}/" for name in sorted(SPECIAL_NAMES)),
    ]


def lease_line(nic: GuestNic) -> str:
    """Return the line for dhcp-hostsdir.

    It has no name: dnsmasq would take one like "12h" for a lease time.
    """
    return f"{nic.mac.lower()},{nic.address}\n"


def hosts_line(nic: GuestNic) -> str:
    """Return the line for hostsdir, in the form of /etc/hosts."""
    return f"{nic.address} {nic.hostname}\n"


def digest(text: str) -> str:
    """Return sixteen digits that tell one text from another."""
    return sha256(text.encode()).hexdigest()[:16]
