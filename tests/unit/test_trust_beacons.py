"""What a beacon is believed, and from whom."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import msgspec
import pytest
from msgspec.structs import replace

from csnode import clock
from csnode.directory import beacon
from csnode.directory.beacon import SIGNED, Beacon, Says, Seal, Spoken
from csnode.directory.directory import Member, Serving
from csnode.testing.trusted import Founded
from csnode.trust.trust import Trust
from csnode.types import NodeId

HOSTING = ("compute", "network", "storage")


@pytest.fixture
def founded(tmp_path: Path) -> Founded:
    return Founded(tmp_path)


@pytest.fixture
def host(founded: Founded) -> Trust:
    return founded.machine("hv-1", HOSTING, ("h1", "p1"))


@pytest.fixture
def ours(founded: Founded, host: Trust) -> Seal:
    """Of somebody who listens."""
    return Seal("tests", founded.machine("ctl"))


def described(trust: Trust, **fields: Any) -> Member:
    made = Member(
        node=NodeId(f"{trust.credential.name}/all"),
        cluster="tests",
        incarnation=1,
        number=1,
        host=trust.credential.name,
        roles=("compute",),
        serves=(Serving(contract="Compute", at=("h1",)), Serving(contract="Storage", at=("p1",))),
        calls="tcp://127.0.0.1:1",
        events="tcp://127.0.0.1:2",
        key=trust.keys.public,
    )
    return replace(made, **fields)


def said(trust: Trust, **fields: Any) -> bytes:
    member = described(trust, **fields)
    return Seal("tests", trust).packed(Beacon(says=Says.HERE, beat=1, member=member))


def test_a_member_is_believed_and_known_from_then_on(ours: Seal, host: Trust) -> None:
    opened = ours.opened(said(host))
    assert opened is not None
    assert opened.member == described(host)
    assert ours._trust is not None
    assert ours._trust.roll.who(host.keys.public) == host.credential.principal


def test_whoever_only_listens_is_known_too(ours: Seal, host: Trust) -> None:
    listening = Seal("tests", host).packed(Beacon(says=Says.WHO))
    assert ours.opened(listening) == Beacon(says=Says.WHO)
    assert ours._trust is not None
    assert ours._trust.roll.who(host.keys.public) is not None


@pytest.mark.parametrize(
    "lie",
    [
        {"host": "hv-2"},
        {"node": NodeId("hv-2/all")},
        {"node": NodeId("hv-1x/all")},
        {"roles": ("compute", "api")},
        {"roles": ("data",)},
        {"serves": (Serving(contract="Data"),)},
        {"serves": (Serving(contract="Data", at=("h1",)),)},
        {"serves": (Serving(contract="Membership"),)},
        {"serves": (Serving(contract="Fabric"),)},
        {"serves": (Serving(contract="Services"),)},
        {"serves": (Serving(contract="Keeper", at=("h1",)),)},
        {"serves": (Serving(contract="Compute", at=("h2",)),)},
        {"serves": (Serving(contract="Compute", at=("h1", "h2")),)},
        {"serves": (Serving(contract="Compute"),)},
        {"serves": (Serving(contract="Another"),)},
        {"serves": (Serving(contract="Another", at=("h2",)),)},
        {"key": "x" * 40},
        {"key": ""},
        {"cluster": "another"},
    ],
    ids=str,
)
def test_a_host_that_says_more_than_it_may_is_not_heard(
    ours: Seal, host: Trust, lie: dict[str, Any]
) -> None:
    assert ours.opened(said(host)) is not None
    assert ours.opened(said(host, **lie)) is None
    assert ours.refusals.count == 1


def test_a_plug_ins_contract_is_served_at_ones_own_places(ours: Seal, host: Trust) -> None:
    own = (Serving(contract="Another", at=("h1",)),)
    assert ours.opened(said(host, serves=own)) is not None


def test_a_beacon_is_good_for_a_while_only(
    ours: Seal, host: Trust, monkeypatch: pytest.MonkeyPatch
) -> None:
    datagram, at = said(host), clock.wall()
    for seconds, good in ((60, True), (-60, True), (91, False), (-91, False)):
        then = at + seconds
        monkeypatch.setattr(clock, "wall_source", lambda: then)  # noqa: B023
        assert (ours.opened(datagram) is not None) == good


def test_no_byte_of_it_can_be_changed(ours: Seal, host: Trust) -> None:
    datagram = said(host)
    for place in range(len(datagram)):
        changed = bytearray(datagram)
        changed[place] ^= 1
        assert ours.opened(bytes(changed)) is None, place
    assert ours.opened(datagram) is not None


def _by_another(host: Trust, founded: Founded, datagram: bytes) -> bytes:
    """Another member says it, under the host's credential."""
    spoken = msgspec.msgpack.decode(datagram[1:], type=Spoken)
    thief = founded.machine("hv-2", HOSTING)
    again = replace(spoken, signature=thief.sign(beacon.SPOKEN + spoken.said))
    return SIGNED + msgspec.msgpack.encode(again)


def _with_anothers_credential(host: Trust, founded: Founded, datagram: bytes) -> bytes:
    """The host says it, under the credential of another."""
    spoken = msgspec.msgpack.decode(datagram[1:], type=Spoken)
    again = replace(spoken, credential=founded.machine("ctl-2").signed)
    return SIGNED + msgspec.msgpack.encode(again)


def _of_another_cluster(host: Trust, founded: Founded, _: bytes) -> bytes:
    other = Founded(founded.folder / "other").machine("hv-1", HOSTING, ("h1", "p1"))
    return said(other)


def _unsigned(host: Trust, founded: Founded, _: bytes) -> bytes:
    return Seal("tests").packed(Beacon(says=Says.HERE, beat=1, member=described(host)))


def _nonsense(host: Trust, founded: Founded, _: bytes) -> bytes:
    return b"\x02\xff\xff"


@pytest.mark.parametrize(
    "forged", [_by_another, _with_anothers_credential, _of_another_cluster, _unsigned, _nonsense]
)
def test_what_the_machine_did_not_say_is_not_heard(
    ours: Seal, host: Trust, founded: Founded, forged: Callable[[Trust, Founded, bytes], bytes]
) -> None:
    assert ours.opened(forged(host, founded, said(host))) is None
    assert ours.refusals.count == 1


def test_an_evicted_machine_is_not_heard(ours: Seal, host: Trust) -> None:
    assert ours._trust is not None
    ours._trust.roll.put_out("hv-1", 1)
    assert ours.opened(said(host)) is None


def test_a_machine_that_was_given_less_may_not_show_its_old_credential(
    ours: Seal, host: Trust, founded: Founded
) -> None:
    before = said(host, serves=(Serving(contract="Storage", at=("p1",)),))
    assert ours.opened(before) is not None
    host.renew(founded.credential("hv-1", host.keys, ("compute",), ("h1",), serial=2))
    assert ours.opened(said(host, serves=())) is not None
    assert ours.opened(before) is None


def test_the_signed_do_not_hear_the_unsigned_nor_the_other_way_round(
    ours: Seal, host: Trust
) -> None:
    assert Seal("tests").opened(said(host)) is None
    assert not Seal("tests").keyed
    assert ours.keyed
