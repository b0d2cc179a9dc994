"""The roll: who is let in now, by which key, and until when."""

from __future__ import annotations

from pathlib import Path

import pytest

from csnode import clock
from csnode.context import NEWCOMER
from csnode.faults import Denied
from csnode.testing.trusted import Founded
from csnode.trust.credential import Signed, signed
from csnode.trust.files import Keys, new_authority
from csnode.trust.roll import Roll

HOUR = 3600.0


@pytest.fixture
def founded(tmp_path: Path) -> Founded:
    return Founded(tmp_path)


@pytest.fixture
def roll(founded: Founded) -> Roll:
    return Roll(founded.cluster, {public(founded)}, {})


def public(founded: Founded) -> bytes:
    return founded.authority.public_key().public_bytes_raw()


def at(monkeypatch: pytest.MonkeyPatch, later: float) -> None:
    """From now on it is so many seconds later."""
    then = clock.wall() + later
    monkeypatch.setattr(clock, "wall_source", lambda: then)


def test_a_credential_lets_its_key_in_until_it_ends(
    founded: Founded, roll: Roll, monkeypatch: pytest.MonkeyPatch
) -> None:
    keys = Keys.new()
    roll.meet(founded.credential("hv-1", keys, ("compute",), ("h1",), until=HOUR))
    principal = roll.who(keys.public)
    assert principal is not None
    assert (principal.name, principal.roles, principal.places) == ("hv-1", {"compute"}, {"h1"})
    assert roll.who(Keys.new().public) is None
    at(monkeypatch, HOUR + 1)
    assert roll.who(keys.public) is None


def test_a_credential_that_was_good_once_is_not_good_for_ever(
    founded: Founded, roll: Roll, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its signature is not looked at again, its time is."""
    keys = Keys.new()
    credential = founded.credential("hv-1", keys, until=HOUR)
    roll.meet(credential)
    roll.meet(credential)
    at(monkeypatch, HOUR + 1)
    with pytest.raises(Denied, match="is over"):
        roll.meet(credential)
    assert roll.who(keys.public) is None


def test_a_credential_whose_time_is_over_is_refused(founded: Founded, roll: Roll) -> None:
    keys = Keys.new()
    with pytest.raises(Denied, match="is over"):
        roll.meet(founded.credential("hv-1", keys, since=-300.0, until=-1.0))
    assert roll.who(keys.public) is None


def test_a_credential_from_the_future_is_good(founded: Founded, roll: Roll) -> None:
    """The cluster signed it: it is our clock that is behind, as after a power failure."""
    keys = Keys.new()
    roll.meet(founded.credential("hv-1", keys, since=60.0, until=HOUR))
    assert roll.who(keys.public) is not None


def test_what_the_cluster_did_not_sign_is_refused(founded: Founded, roll: Roll) -> None:
    good, other = founded.credential("hv-1", Keys.new()), new_authority()
    credential = good.opened(frozenset({public(founded)}), clock.wall())
    tampered = Signed(body=good.body + b"\0", signer=good.signer, signature=good.signature)
    for bad in (signed(credential, other), tampered):
        with pytest.raises(Denied):
            roll.meet(bad)
    elsewhere = Founded(founded.folder, cluster="elsewhere")
    elsewhere.authority = founded.authority
    with pytest.raises(Denied, match="of the cluster elsewhere"):
        roll.meet(elsewhere.credential("hv-1", Keys.new()))


def test_of_two_credentials_the_later_counts_in_whatever_order_they_come(
    founded: Founded, roll: Roll
) -> None:
    keys = Keys.new()
    old = founded.credential("hv-1", keys, ("compute", "api"), serial=1)
    new = founded.credential("hv-1", keys, ("compute",), serial=2)
    for credential in (old, new, old):
        roll.meet(credential)
    principal = roll.who(keys.public)
    assert principal is not None
    assert principal.roles == {"compute"}


def test_a_machine_that_is_put_out_is_let_in_no_more_unless_it_joins_again(
    founded: Founded, roll: Roll
) -> None:
    keys, other = Keys.new(), Keys.new()
    first = founded.credential("hv-1", keys, serial=1)
    roll.meet(first)
    roll.meet(founded.credential("hv-2", other, serial=1))
    told: list[str] = []
    roll.listen(told.append)
    roll.put_out("hv-1", 1)
    assert roll.who(keys.public) is None
    assert roll.who(other.public) is not None
    with pytest.raises(Denied, match="put out"):
        roll.meet(first)
    roll.put_out("hv-1", 1)
    assert (told, roll.put_outs()) == (["hv-1"], {"hv-1": 1})
    roll.meet(founded.credential("hv-1", keys, serial=2))
    assert roll.who(keys.public) is not None
    roll.put_out("hv-1", 1)  # heard again: it was about the credential before
    assert roll.who(keys.public) is not None
    assert told == ["hv-1"]


def test_those_put_out_before_the_start_are_still_out(founded: Founded) -> None:
    roll = Roll(founded.cluster, {public(founded)}, {"hv-1": 3})
    with pytest.raises(Denied, match="put out"):
        roll.meet(founded.credential("hv-1", Keys.new(), serial=3))
    roll.meet(founded.credential("hv-1", Keys.new(), serial=4))


def test_under_new_keys_of_the_cluster_what_the_old_signed_is_worth_nothing(
    founded: Founded, roll: Roll
) -> None:
    keys, told = Keys.new(), list[str]()
    old = founded.credential("hv-1", keys)
    roll.meet(old)
    before, founded.authority = public(founded), new_authority()
    roll.believe({before, public(founded)})
    assert roll.who(keys.public) is not None
    new = founded.credential("hv-1", keys)
    roll.meet(new)  # the same serial, under the new key
    roll.listen(told.append)
    roll.believe({public(founded)})
    assert told == [""]
    assert roll.who(keys.public) is not None
    with pytest.raises(Denied, match="another cluster"):
        roll.meet(old)
    founded.authority = new_authority()
    roll.believe({public(founded)})
    assert roll.who(keys.public) is None


def test_whoever_listens_no_more_is_not_told(founded: Founded, roll: Roll) -> None:
    told: list[str] = []
    watcher = told.append
    roll.listen(watcher)
    roll.deafen(watcher)
    roll.meet(founded.credential("hv-1", Keys.new()))
    roll.put_out("hv-1", 1)
    assert told == []


def test_a_newcomer_may_knock_until_the_token_ends(
    roll: Roll, monkeypatch: pytest.MonkeyPatch
) -> None:
    key, other = Keys.new().public, Keys.new().public
    for expected in (key, other):
        roll.expect(expected, "new", clock.wall() + 60)
    principal = roll.who(key)
    assert principal is not None
    assert (principal.name, principal.roles) == ("new", {NEWCOMER})
    roll.forget(other)
    assert roll.who(other) is None
    at(monkeypatch, 61)
    assert roll.who(key) is None
