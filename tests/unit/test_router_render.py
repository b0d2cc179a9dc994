"""The pure parts of the linux network driver: names, rules, files, frames, answers."""

from __future__ import annotations

from http import HTTPStatus
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from msgspec.structs import replace

from csnode.faults import Conflict, Full, Invalid, Unavailable
from csnode.testing.network import guest_network, guest_nic
from csnode.types import NetworkId
from roles.network.drivers import render, router
from roles.network.drivers.checks import check_card, check_network, check_nic
from roles.network.drivers.command import Link
from roles.network.drivers.dnsmasq import Daemon, conf_of
from roles.network.drivers.linux import _as_faults
from roles.network.drivers.metadata import Request, parse, password_answer, reply, web_answer
from roles.network.drivers.namespace import Side, Sight
from roles.network.drivers.path import dropping, undecided
from roles.network.drivers.release import checksum, frame
from roles.network.drivers.router import Part, Scene
from roles.network.drivers.told import Told
from roles.network.drivers.tunnels import Tunnels

NETWORK = guest_network()
NIC = guest_nic(NETWORK)
NAMES = render.names_of("cs", NETWORK.network, "h1")


# -- names ---------------------------------------------------------------------------------


def test_names_fit_the_kernels_fifteen_characters() -> None:
    names = render.names_of("abcd", NETWORK.network, "h1")
    for name in (names.bridge, names.guest_end, names.public_end, names.vxlan):
        assert len(name) <= 15
        assert name.startswith("abcd")
        assert name.endswith(NETWORK.network[:8])


def test_a_rebuilt_router_keeps_its_addresses_and_two_routers_share_none() -> None:
    other = render.names_of("cs", guest_network(2).network, "h1")
    macs = [NAMES.guest_mac, NAMES.public_mac, NAMES.bridge_mac]
    macs += [other.guest_mac, other.public_mac, other.bridge_mac]
    assert len(set(macs)) == 6
    assert all(int(mac[:2], 16) & 3 == 2 for mac in macs)  # local, unicast
    again = render.names_of("zz", NETWORK.network, "h2")
    assert (again.guest_mac, again.public_mac) == (NAMES.guest_mac, NAMES.public_mac)
    assert again.bridge_mac != NAMES.bridge_mac


@pytest.mark.parametrize(
    "network", ["", "n1", "../../etc", "e2d395f1-ca3e-4481-9a34-16e2e7793ca0\n", "A" * 36]
)
def test_an_id_that_is_no_uuid_names_nothing(network: str) -> None:
    with pytest.raises(Invalid):
        render.names_of("cs", NetworkId(network), "h1")


# -- text ----------------------------------------------------------------------------------


def test_a_router_lets_guests_out_and_nobody_in() -> None:
    text = render.rules(NETWORK)
    assert text.startswith("flush ruleset\n")
    assert text.count("policy drop") == 2
    assert 'iifname "eth0" oifname "eth1" ip saddr 10.1.1.0/24 accept' in text
    assert 'iifname "eth1"' not in text
    assert "snat to 198.51.100.11" in text


def test_a_router_without_a_public_address_has_no_public_side() -> None:
    alone = replace(NETWORK, public_address="")
    everything = [
        render.rules(alone),
        *render.router_lines(alone),
        *render.wire_lines(NAMES, "", 1450),
        *render.router_settings(alone),
    ]
    assert not [line for line in everything if "eth1" in line or "snat" in line]


def test_dnsmasq_is_given_no_name_it_could_read_as_an_option() -> None:
    nic = replace(NIC, hostname="infinite", mac="02:AB:00:00:00:01")
    assert render.lease_line(nic) == f"02:ab:00:00:00:01,{NIC.address}\n"
    assert render.hosts_line(nic) == f"{NIC.address} infinite\n"


def test_dnsmasq_asks_only_the_servers_it_is_told_of() -> None:
    text = render.dnsmasq_conf(replace(NETWORK, dns=("192.0.2.53", "2001:db8::53")), "/f", 1450)
    servers = [line for line in text.splitlines() if line.startswith("server=")]
    assert servers == ["server=192.0.2.53", "server=2001:db8::53"]
    assert "no-resolv" in text
    bare = render.dnsmasq_conf(replace(NETWORK, domain=""), "/f", 1450)
    assert "domain=" not in bare
    assert "server=" not in bare


def test_an_uplink_table_replaces_only_itself() -> None:
    text = render.uplink_rules("cspub0_uplink", "eth9", ["198.51.100.0/24", "192.0.2.0/24"])
    assert "flush ruleset" not in text
    assert [line for line in text.splitlines() if line.startswith("delete")] == [
        "delete table ip cspub0_uplink"
    ]
    assert text.count('oifname "eth9"') == 2


FIELDS = ("cidr", "gateway", "domain", "public_address", "public_cidr", "public_gateway")
SPECIAL = st.sampled_from(["\n", ";", "\0", " ", "/", "}", "#", "=", ",", "é", "\u2028", "-", "."])


@st.composite
def near(draw: st.DrawFn, *good: str) -> str:
    """A value that is good, or one with a little put in, or any text."""
    kind = draw(st.integers(0, 3))
    if kind == 0:
        return draw(st.text())
    text = draw(st.sampled_from(good))
    if kind == 1:
        return text
    at, little = draw(st.integers(0, len(text))), draw(st.one_of(SPECIAL, st.text(max_size=2)))
    return text[:at] + little + text[at:]


def hosts_of(network: str) -> st.SearchStrategy[str]:
    """Addresses in the network, as text."""
    return st.ip_addresses(v=4, network=network).map(str)


def test_no_text_gets_into_a_router_but_as_what_it_is() -> None:
    taken: dict[str, int] = dict.fromkeys(FIELDS, 0)

    @settings(max_examples=600)
    @given(st.sampled_from(FIELDS), st.data())
    def tried(field: str, data: st.DataObject) -> None:
        good = (str(getattr(NETWORK, field)), "203.0.113.0/24", "10.1.1.77", "a.example.org")
        changed: dict[str, Any] = {field: data.draw(near(*good))}
        network = replace(NETWORK, **changed)
        try:
            check_network(network)
        except Invalid:
            return
        taken[field] += 1
        rendered = render.rules(network) + render.dnsmasq_conf(network, "/f", 1450)
        assert rendered.isascii()
        lines = render.router_lines(network) + rendered.splitlines()
        assert len(lines) <= 70
        assert all(line.count(";") <= 2 for line in lines)

    tried()
    assert min(taken.values()) > 0, taken  # else nothing was asserted


def test_no_text_gets_into_a_hosts_file_but_as_one_name() -> None:
    taken: set[str] = set()

    @settings(max_examples=300)
    @given(st.one_of(near("web-1", "A", "x" * 63), st.from_regex(r"[a-z0-9-]{1,64}")))
    def tried(text: str) -> None:
        try:
            check_card(replace(NIC, hostname=text))
        except Invalid:
            return
        taken.add(text)
        line = render.hosts_line(replace(NIC, hostname=text))
        assert line.split() == [NIC.address, text]
        assert line.count("\n") == 1

    tried()
    assert len(taken) > 10


def test_no_text_is_an_address_but_one_in_the_network() -> None:
    taken: dict[str, set[str]] = {"address": set(), "mac": set()}
    mac = st.from_regex(r"\A0[26ae](:[0-9a-f]{2}){5}\Z")

    @settings(max_examples=300)
    @given(st.one_of(near(NIC.address), hosts_of(NETWORK.cidr)), st.one_of(near(NIC.mac), mac))
    def tried(address: str, mac: str) -> None:
        for field, text in (("address", address), ("mac", mac)):
            changed: dict[str, Any] = {field: text}
            nic = replace(NIC, **changed)
            try:
                check_nic(nic, NETWORK)
            except Invalid:
                continue
            taken[field].add(text)
            assert len(render.lease_line(nic).split(",")) == 2

    tried()
    assert min(len(texts) for texts in taken.values()) > 10


# -- what is missing -----------------------------------------------------------------------

INODE = 4026532000


def whole(told: Told) -> Scene:
    """Everything as it should be."""
    links = [
        Link(name=NAMES.bridge, up=True, mtu=1450),
        Link(name="cspub0", up=True),
        Link(name=NAMES.guest_end, master=NAMES.bridge, up=True, mtu=1450),
        Link(name=NAMES.public_end, master="cspub0", up=True),
    ]
    sight = Sight(
        inode=INODE,
        guest=Side(address="10.1.1.1", netmask="255.255.255.0", up=True),
        public=Side(address="198.51.100.11", netmask="255.255.255.0", up=True),
        default_route="198.51.100.1",
        forwards=True,
        generation=2,
    )
    daemon = Daemon(pid=1, conf=str(conf_of(told, 1450)[0]), inode=INODE)
    return Scene(
        links={link.name: link for link in links}, daemons=(daemon,), sight=sight, served=INODE
    )


def told_of(tmp_path: Path) -> Told:
    told = Told(tmp_path, NETWORK)
    told.mark = router.mark_of(NETWORK, INODE, 2)
    return told


def test_a_whole_router_lacks_nothing(tmp_path: Path) -> None:
    told = told_of(tmp_path)
    assert router.missing(told, NAMES, whole(told), "cspub0") == frozenset()


def test_each_part_is_missed_by_itself(tmp_path: Path) -> None:
    told = told_of(tmp_path)
    scene = whole(told)
    sight, daemon = scene.sight, scene.daemons[0]
    assert sight is not None
    other_rules = replace(scene, sight=replace(sight, generation=3))
    elsewhere = replace(scene, daemons=(replace(daemon, inode=1),))
    twice = replace(scene, daemons=(daemon, replace(daemon, pid=2)))
    other_conf = replace(scene, daemons=(replace(daemon, conf=f"{told.dnsmasq}/x.conf"),))
    for broken, lacking in (
        (other_rules, {Part.RULES}),
        (elsewhere, {Part.DNSMASQ}),
        (twice, {Part.DNSMASQ}),
        (other_conf, {Part.DNSMASQ}),
        (replace(scene, daemons=()), {Part.DNSMASQ}),
        (replace(scene, served=0), {Part.METADATA}),
        (replace(scene, mtu=1350), {Part.MTU, Part.DNSMASQ}),
        (replace(scene, sight=None), set(Part)),
        (replace(scene, links={}), set(Part)),
        (replace(scene, sight=replace(sight, public=None)), set(Part)),
        (replace(scene, sight=replace(sight, default_route="")), set(Part)),
    ):
        assert router.missing(told, NAMES, broken, "cspub0") == lacking


def test_a_newer_csnode_with_other_rules_loads_them_again(tmp_path: Path) -> None:
    told = told_of(tmp_path)
    told.mark = replace(told.mark, text="an older text's digest")
    assert router.missing(told, NAMES, whole(told), "cspub0") == {Part.RULES}


def test_every_port_that_is_not_the_routers_is_a_machines() -> None:
    ours = [NAMES.guest_end, NAMES.vxlan]
    links = {n: Link(name=n, master=NAMES.bridge) for n in [*ours, "vnet7", "vnet3"]}
    links["vnet9"] = Link(name="vnet9", master="another")
    assert router.plugged_in(NAMES, links) == ["vnet3", "vnet7"]


# -- frames and answers --------------------------------------------------------------------


def test_a_release_is_what_the_guest_itself_would_send() -> None:
    sent = frame("02:00:00:00:00:07", "10.1.1.51", "10.1.1.1", "0a:00:00:00:00:01")
    assert sent[:14].hex() == "0a0000000001" + "020000000007" + "0800"
    ip, udp, dhcp = sent[14:34], sent[34:42], sent[42:]
    assert checksum(ip) == 0
    assert int.from_bytes(ip[2:4], "big") == len(sent) - 14
    assert (ip[12:16], ip[16:20]) == (bytes((10, 1, 1, 51)), bytes((10, 1, 1, 1)))
    assert udp[:4] == bytes((0, 68, 0, 67))
    assert int.from_bytes(udp[4:6], "big") == len(udp) + len(dhcp)
    assert dhcp[12:16] == bytes((10, 1, 1, 51))
    assert dhcp[28:34].hex() == "020000000007"
    assert dhcp[236:243] == bytes((99, 130, 83, 99, 53, 1, 7))


def asked(path: str, method: str = "GET", **headers: str) -> Request:
    return Request(method=method, path=path, headers=headers)


def test_metadata_is_found_under_cloudstacks_paths() -> None:
    assert web_answer(NIC, asked("/latest/meta-data")) == web_answer(
        NIC, asked("/latest/meta-data/")
    )
    assert web_answer(NIC, asked("/latest/meta-data/instance-id"))[1] == b"i-1"
    assert web_answer(NIC, asked("/latest/instance-id"))[1] == b"i-1"
    assert web_answer(NIC, asked("/latest/user-data"))[1] == NIC.user_data
    for path in ("", "/", "/latest", "/2009-04-04/user-data", "/latest/meta-data/a/b", "/../.."):
        assert web_answer(NIC, asked(path))[0] is HTTPStatus.NOT_FOUND
    assert web_answer(NIC, asked("/latest/user-data", "PUT"))[0] is HTTPStatus.METHOD_NOT_ALLOWED


def test_the_password_server_knows_two_questions() -> None:
    for question in ("send_my_password", "saved_password"):
        assert password_answer(NIC, asked("/", domu_request=question))[1] == b"saved_password"
    assert password_answer(NIC, asked("/", domu_request="x"))[1] == b"bad_request"


def test_a_request_is_read_as_wget_sends_it() -> None:
    head = b"GET http://10.1.1.1/latest/user-data?x=1 HTTP/1.1\r\nDomU_Request: a:b\r\n\r\n"
    request = parse(head)
    assert (request.method, request.path) == ("GET", "/latest/user-data")
    assert request.headers == {"domu_request": "a:b"}
    assert reply(request, HTTPStatus.OK, b"abc").endswith(
        b"Content-Length: 3\r\nConnection: close\r\n\r\nabc"
    )


def test_any_bytes_are_a_request_or_a_value_error() -> None:
    answered: set[HTTPStatus] = set()
    first = st.sampled_from([
        b"GET /latest/user-data HTTP/1.1", b"GET /latest/meta-data/ HTTP/1.0", b"POST / HTTP/1.1",
        b"GET http://10.1.1.1/latest/%75ser-data HTTP/1.1", b"GET /../etc/passwd HTTP/1.1", b"",
    ])  # fmt: skip
    more = st.one_of(st.just(b""), st.binary(max_size=300))

    @settings(max_examples=300)
    @given(first, more)
    def tried(line: bytes, more: bytes) -> None:
        head = line + b"\r\n" + more + b"\r\n\r\n" if line else more
        try:
            request = parse(head)
        except ValueError:
            return
        status, _ = web_answer(NIC, request)
        assert isinstance(status, HTTPStatus)
        answered.add(status)

    tried()
    assert {HTTPStatus.OK, HTTPStatus.NOT_FOUND} <= answered


def test_what_the_system_says_becomes_a_fault() -> None:
    with pytest.raises(Full, match="disk is full"), _as_faults():
        raise OSError(28, "No space left on device", "/x")
    with pytest.raises(Unavailable, match="in use"), _as_faults():
        raise OSError(98, "Address already in use")
    with pytest.raises(Conflict), _as_faults():
        raise Conflict("as it is")


# -- the path of guests --------------------------------------------------------------------

CHAIN: dict[str, Any] = {
    "family": "ip",
    "table": "filter",
    "name": "FORWARD",
    "hook": "forward",
    "policy": "drop",
}
RULE: dict[str, Any] = {
    "family": "ip", "table": "filter", "chain": "OTHER",
    "expr": [{"match": {"right": "cspub0"}}, {"accept": None}],
}  # fmt: skip


def test_rules_for_ip_are_blamed_only_where_bridged_frames_meet_them() -> None:
    rules: list[dict[str, Any]] = [
        {"metainfo": {}},
        {"table": {"family": "ip", "name": "filter"}},
        {"chain": CHAIN},
    ]
    assert dropping(rules, bridged=True) == ["ip filter FORWARD (policy drop)"]
    assert dropping(rules, bridged=False) == []
    open_one = {**CHAIN, "policy": "accept"}
    assert dropping([{"chain": open_one}], bridged=True) == []
    drops = {**RULE, "chain": "FORWARD", "expr": [{"drop": None}]}
    assert dropping([{"chain": open_one}, {"rule": drops}], bridged=True) == [
        "ip filter FORWARD (policy accept)"
    ]


def test_a_table_that_names_the_public_bridge_has_decided_on_it() -> None:
    words = ("cspub0", "eth0", "198.51.100.0")
    assert undecided([{"chain": CHAIN}], words) == ["ip filter FORWARD (policy drop)"]
    assert undecided([{"chain": CHAIN}, {"rule": RULE}], words) == []
    elsewhere = {**RULE, "table": "another"}
    assert undecided([{"chain": CHAIN}, {"rule": elsewhere}], words) != []


def test_guests_have_what_the_underlay_carries_and_no_more_than_is_set() -> None:
    def mtu(carries: int, most: int, local: str = "192.0.2.1") -> int:
        found = {"eth0": Link(name="eth0", mtu=carries, addresses=("192.0.2.1", "fe80::1"))}
        return Tunnels("cs", local, ()).guest_mtu(found, most)

    assert [mtu(1500, 1450), mtu(1400, 1450), mtu(9000, 1450), mtu(9000, 8950)] == [
        1450, 1350, 1450, 8950]  # fmt: skip
    assert mtu(1400, 1450, local="") == mtu(1400, 1450, local="192.0.2.9") == 1450
    assert mtu(68, 1450) == 576
