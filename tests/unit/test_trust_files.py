"""A machine's keys on disk, and the roll of who belongs."""

from __future__ import annotations

import json
import os
from pathlib import Path

import pytest
import zmq
from zmq.utils import z85 as zmq_z85

from csnode import clock
from csnode.config import Config
from csnode.context import NEWCOMER
from csnode.faults import Denied, Invalid, Refused
from csnode.testing.trusted import Founded
from csnode.trust import files
from csnode.trust.files import Keys
from csnode.trust.trust import Trust


@pytest.fixture
def founded(tmp_path: Path) -> Founded:
    return Founded(tmp_path)


def test_keys_are_what_zeromq_takes_for_keys() -> None:
    keys = Keys.new()
    assert zmq.curve_public(keys.secret.encode()).decode() == keys.public
    assert zmq_z85.decode(keys.public) == files.un_z85(keys.public)
    assert files.z85(files.un_z85(keys.public)) == keys.public


def test_keys_follow_from_a_secret_and_new_ones_from_nothing() -> None:
    assert Keys.of(b"s" * 32).public == Keys.of(b"s" * 32).public
    assert len({Keys.of(b"s" * 32).public, Keys.of(b"t" * 32).public, Keys.new().public}) == 3


def test_secrets_are_for_their_owner_only(founded: Founded) -> None:
    folder = founded.machine("m").folder
    files.write_authority(folder, founded.authority)
    modes = {file.name: file.stat().st_mode & 0o777 for file in folder.iterdir()}
    assert modes["key.json"] == modes["authority.key"] == 0o600
    assert folder.stat().st_mode & 0o777 == 0o700
    assert not [name for name in modes if name.startswith(".")]
    for name in ("key.json", "authority.key"):
        (folder / name).chmod(0o640)
        with pytest.raises(Refused, match=f"chmod 600 .*{name}"):
            Trust.read(folder)
        (folder / name).chmod(0o600)
    assert Trust.read(folder) is not None


def test_a_folder_without_a_credential_is_no_trust(tmp_path: Path) -> None:
    assert Trust.read(tmp_path / "none") is None
    files.write_keys(tmp_path, Keys.new())
    assert Trust.read(tmp_path) is None


@pytest.mark.parametrize("name", ["key.json", "cluster.keys", "credential"])
def test_a_folder_that_is_not_whole_is_told_of_in_one_line(founded: Founded, name: str) -> None:
    folder = founded.machine("m").folder
    file = folder / name
    for spoilt in (b"", b"nonsense", b"{}"):
        file.write_bytes(spoilt)
        with pytest.raises((Invalid, Denied), match=name) as caught:
            Trust.read(folder)
        assert "\n" not in caught.value.message
    if name != "credential":
        file.unlink()
        with pytest.raises(Invalid, match=name):
            Trust.read(folder)


def test_a_credential_for_other_keys_or_of_another_cluster_is_refused(
    founded: Founded, tmp_path: Path
) -> None:
    folder = founded.machine("m").folder
    files.write_keys(folder, Keys.new())
    with pytest.raises(Invalid, match="is not for the keys"):
        Trust.read(folder)
    folder = founded.machine("n").folder
    other = Founded(tmp_path / "other")
    files.write_cluster_keys(folder, (other.authority.public_key().public_bytes_raw(),))
    with pytest.raises(Denied, match="another cluster"):
        Trust.read(folder)


def test_a_rotation_that_stops_half_way_leaves_the_old_keys_or_the_new(
    founded: Founded, monkeypatch: pytest.MonkeyPatch
) -> None:
    before = founded.machine("m")
    replace, steps = os.replace, 0

    def stopping(source: Path, target: Path) -> None:
        nonlocal steps
        if steps == stop_at:
            raise KeyboardInterrupt
        steps += 1
        replace(source, target)

    for stop_at in range(3):
        steps = 0
        keys = Keys.new()
        signed = founded.credential("m", keys, serial=2 + stop_at)
        with monkeypatch.context() as patched:
            patched.setattr(os, "replace", stopping)
            with pytest.raises(KeyboardInterrupt):
                files.write_both(before.folder, keys, signed)
        found = Trust.read(before.folder)
        assert found is not None
        assert found.credential.key == found.keys.public
        assert (found.keys.public == keys.public) == (stop_at == 2)
        kept = files._signed(before.folder / files.CREDENTIAL)
        assert (kept == signed) == (stop_at == 2), "it is put in its place once it is read"


def test_the_configuration_says_where_and_must_agree(founded: Founded) -> None:
    folder = founded.machine("m").folder
    trust = Trust.of(Config({"node": {"cluster": "tests"}, "trust": {"folder": str(folder)}}))
    assert trust is not None
    assert trust.credential.name == "m"
    state = {"cluster": "tests", "state": str(founded.folder / "nothing")}
    assert Trust.of(Config({"node": state})) is None
    with pytest.raises(Invalid, match=r"\[node\] cluster is mine.* of the cluster tests"):
        Trust.of(Config({"node": {"cluster": "mine"}, "trust": {"folder": str(folder)}}))


# -- the roll --------------------------------------------------------------------------------


def test_a_stranger_is_nobody_and_a_member_is_who_his_credential_says(founded: Founded) -> None:
    one, other = founded.machine("one"), founded.machine("two", ("compute",), ("h2",))
    assert one.roll.who(other.keys.public) is None
    one.roll.meet(other.signed)
    who = one.roll.who(other.keys.public)
    assert who is not None
    assert (who.name, who.roles, who.places) == ("two", {"compute"}, {"h2"})
    assert one.roll.who(Keys.new().public) is None


def test_a_credential_that_was_tampered_with_is_refused(founded: Founded, tmp_path: Path) -> None:
    from msgspec.structs import replace

    one, other = founded.machine("one"), founded.machine("two", ("compute",))
    forged = Founded(tmp_path / "x").credential("two", other.keys)
    for bad in (
        replace(other.signed, body=forged.body),
        replace(forged, signer=other.signed.signer),
        forged,
    ):
        with pytest.raises(Denied):
            one.roll.meet(bad)
    assert one.roll.who(other.keys.public) is None


def test_time_ends_a_credential_on_the_roll_too(
    founded: Founded, monkeypatch: pytest.MonkeyPatch
) -> None:
    one, keys = founded.machine("one"), Keys.new()
    one.roll.meet(founded.credential("two", keys, until=60.0))
    assert one.roll.who(keys.public) is not None
    then = clock.wall() + 61
    monkeypatch.setattr(clock, "wall_source", lambda: then)
    assert one.roll.who(keys.public) is None
    with pytest.raises(Denied, match="is over"):
        one.roll.meet(founded.credential("three", Keys.new(), since=-120.0, until=-1.0))


def test_a_credential_whose_time_is_to_come_shows_that_our_clock_is_behind(
    founded: Founded,
) -> None:
    """After a power failure all machines may be hours behind; their credentials are as good."""
    one, keys = founded.machine("one"), Keys.new()
    one.roll.meet(founded.credential("two", keys, since=7200.0, until=14400.0))
    assert one.roll.who(keys.public) is not None


def test_the_highest_serial_says_what_a_machine_may(founded: Founded) -> None:
    one, keys = founded.machine("one"), Keys.new()
    old = founded.credential("two", keys, ("api", "compute"), serial=1)
    new = founded.credential("two", keys, ("compute",), serial=2)
    for signed in (old, new, old):
        one.roll.meet(signed)
    who = one.roll.who(keys.public)
    assert who is not None
    assert who.roles == {"compute"}


def test_whoever_is_put_out_is_out_after_a_restart_too_and_his_successor_is_not(
    founded: Founded,
) -> None:
    one, other = founded.machine("one"), founded.machine("two")
    one.roll.meet(other.signed)
    one.roll.put_out("two", 1)
    assert one.roll.who(other.keys.public) is None
    again = Trust.read(one.folder)
    assert again is not None
    for roll in (one.roll, again.roll):
        with pytest.raises(Denied, match="put out"):
            roll.meet(other.signed)
        keys = Keys.new()
        roll.meet(founded.credential("two", keys, serial=2))
        assert roll.who(keys.public) is not None


def test_a_machine_says_what_is_wrong_with_its_own_credential(
    founded: Founded, monkeypatch: pytest.MonkeyPatch
) -> None:
    one, two = founded.machine("one"), founded.machine("two")
    assert one.troubles() == two.troubles() == ()
    one.roll.put_out("one", 1)
    assert one.troubles() == ("this machine was evicted",)
    then = clock.wall() + 3601
    monkeypatch.setattr(clock, "wall_source", lambda: then)
    assert two.troubles() == ("its credential's time is over",)


def test_two_processes_of_a_machine_keep_what_both_know(founded: Founded) -> None:
    one = founded.machine("one")
    twin = Trust.read(one.folder)
    assert twin is not None
    one.roll.put_out("two", 4)
    twin.roll.put_out("three", 1)
    assert files.read_evicted(one.folder) == {"two": 4, "three": 1}


def test_a_newcomer_is_expected_for_a_while(
    founded: Founded, monkeypatch: pytest.MonkeyPatch
) -> None:
    one, late, gone = founded.machine("one"), Keys.new().public, Keys.new().public
    one.roll.expect(late, "token-1", clock.wall() + 60)
    one.roll.expect(gone, "token-2", clock.wall() + 60)
    who = one.roll.who(late)
    assert who is not None
    assert (who.name, who.roles) == ("token-1", {NEWCOMER})
    one.roll.forget(gone)
    assert one.roll.who(gone) is None
    then = clock.wall() + 61
    monkeypatch.setattr(clock, "wall_source", lambda: then)
    assert one.roll.who(late) is None


def test_only_a_newer_credential_of_our_own_renews_ours(founded: Founded, tmp_path: Path) -> None:
    one = founded.machine("one", serial=3)
    newer = founded.credential("one", one.keys, ("api",), serial=4)
    for bad in (
        founded.credential("two", one.keys, serial=9),
        founded.credential("one", Keys.new(), serial=9),
        founded.credential("one", one.keys, serial=2),
        Founded(tmp_path / "x").credential("one", one.keys, serial=9),
    ):
        with pytest.raises(Denied):
            one.renew(bad)
    one.renew(newer)
    kept = Trust.read(one.folder)
    assert kept is not None
    assert kept.credential == one.credential
    assert (one.credential.serial, one.credential.roles) == (4, ("api",))


def test_a_process_with_the_old_keys_does_not_write_over_the_new_credential(
    founded: Founded,
) -> None:
    old, keys = founded.machine("one"), Keys.new()
    files.write_both(old.folder, keys, founded.credential("one", keys, serial=2))
    old.renew(founded.credential("one", old.keys, serial=3))
    kept = Trust.read(old.folder)
    assert kept is not None
    assert kept.credential.serial == 2


def test_when_the_clusters_key_is_changed_both_are_good_and_then_one(
    founded: Founded, tmp_path: Path
) -> None:
    one, other = founded.machine("one"), founded.machine("two")
    after = Founded(tmp_path / "after")
    new = after.authority.public_key().public_bytes_raw()
    one.roll.meet(other.signed)
    one.believe({*one.cluster_keys, new})
    one.roll.meet(after.credential("three", three := Keys.new()))
    one.roll.meet(after.credential("two", other.keys))
    one.renew(after.credential("one", one.keys, serial=2))
    one.believe({new})
    assert one.roll.who(three.public) is not None
    assert one.roll.who(other.keys.public) is not None
    with pytest.raises(Denied, match="another cluster"):
        one.roll.meet(other.signed)
    kept = Trust.read(one.folder)
    assert kept is not None
    assert kept.cluster_keys == {new}


@pytest.mark.parametrize("damage", [{"sign": "not hex"}, {"curve": "x"}, {"curve": "~" * 40}])
def test_a_file_of_keys_that_holds_none_says_so(founded: Founded, damage: dict[str, str]) -> None:
    file = founded.machine("m").folder / files.KEY
    file.write_text(json.dumps(json.loads(file.read_text()) | damage))
    with pytest.raises(Invalid, match="holds no keys"):
        Trust.read(file.parent)


def test_the_same_credential_under_the_clusters_new_key_renews_a_machines(
    founded: Founded,
) -> None:
    """Its serial is the same: one that may only be higher would leave the old key's in force."""
    one = founded.machine("one", serial=3)
    before, founded.authority = founded.authority, files.new_authority()
    keys = [key.public_key().public_bytes_raw() for key in (before, founded.authority)]
    one.believe(keys)
    again = founded.credential("one", one.keys, serial=3)
    one.renew(again)
    assert one.signed == again
    one.believe(keys[1:])
    assert one.troubles() == ()
    kept = Trust.read(one.folder)
    assert kept is not None
    assert kept.signed == again
