"""Founding a cluster and joining one, as far as it needs no other machine."""

from __future__ import annotations

import sys
import tomllib
from pathlib import Path
from typing import Any

import pytest

from csnode.cli import main
from csnode.cli.cluster import found_cluster
from csnode.cli.join import verified, written
from csnode.cli.token import Door, Token, fingerprint, key_of, seconds_of
from csnode.clock import wall
from csnode.config import Config, NodeConfig
from csnode.contracts.membership import Joined
from csnode.faults import Conflict, Denied, Invalid
from csnode.node import known_sections
from csnode.trust.credential import Credential, signed
from csnode.trust.files import Keys, new_authority
from csnode.trust.trust import Trust
from csnode.uuids import id_of


@pytest.fixture
def csnode(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> Any:
    """Runs a command line in an empty folder; answers exit code, output and error output."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("CSNODE_CONFIG", raising=False)

    def run(*arguments: str) -> tuple[int, str, str]:
        monkeypatch.setattr(sys, "argv", ["csnode", *arguments])
        with pytest.raises(SystemExit) as end:
            main.main()
        out, err = capsys.readouterr()
        code = end.value.code
        assert isinstance(code, int)
        return code, out, err

    return run


def token(**given: Any) -> Token:
    """One for compute, for an hour."""
    said: dict[str, Any] = {
        "cluster": "c",
        "fingerprints": (fingerprint(b"k" * 32),),
        "doors": (Door(calls="tcp://127.0.0.1:1", key="key"),),
        "secret": b"s" * 32,
        "roles": ("compute", "storage"),
        "until": wall() + 3600,
        "settings": {"directory": {"kind": "static", "seeds": ["127.0.0.1:17670"]}},
    }
    return Token(**(said | given))


def test_init_makes_this_machine_the_first_of_its_cluster(csnode: Any, tmp_path: Path) -> None:
    code, out, err = csnode(
        "cluster", "init", "--name", "c", "--host", "first", "--state", str(tmp_path)
    )
    assert (code, err) == (0, "")
    assert "first" in out
    trust = Trust.read(tmp_path / "trust")
    assert trust is not None
    made = trust.credential
    assert (made.cluster, made.name, made.serial) == ("c", "first", 1)
    assert {"api", "data", "fabric", "compute", "keeper"} <= set(made.roles)
    assert made.places == (
        id_of("c", "host", "first"),
        id_of("c", "pool", "first", "first-local"),
    )
    assert trust.authority is not None
    for name in ("key.json", "authority.key"):
        assert (tmp_path / "trust" / name).stat().st_mode & 0o077 == 0
    assert (tmp_path / "trust").stat().st_mode & 0o077 == 0


def test_init_counts_the_hosts_and_pools_that_the_configuration_plays(
    csnode: Any, tmp_path: Path
) -> None:
    sims = [f"{role}.{key}={value}" for role in ("compute", "network", "storage")
            for key, value in (("driver", "sim"), ("hosts", 3))]  # fmt: skip
    settings = [part for each in sims for part in ("--set", each)]
    code, _, err = csnode(*settings, "cluster", "init", "--host", "h", "--state", str(tmp_path))
    assert (code, err) == (0, "")
    trust = Trust.read(tmp_path / "trust")
    assert trust is not None
    assert len(trust.credential.places) == 6


def test_init_never_writes_over_a_clusters_keys(csnode: Any, tmp_path: Path) -> None:
    before = NodeConfig(cluster="c", host="first", state=str(tmp_path))
    found_cluster(tmp_path / "trust", before)
    kept = (tmp_path / "trust/authority.key").read_bytes()
    code, _, err = csnode("cluster", "init", "--state", str(tmp_path))
    assert code != 0
    assert "belongs to a cluster already" in err
    assert err.count("\n") == 1
    assert (tmp_path / "trust/authority.key").read_bytes() == kept
    with pytest.raises(Conflict):
        found_cluster(tmp_path / "trust", before)


def test_a_token_is_read_as_it_was_printed_also_over_several_lines() -> None:
    made = token()
    assert Token.read(made.text) == made
    folded = "\n".join(made.text[n : n + 60] for n in range(0, len(made.text), 60))
    assert Token.read(f"  {folded}\n") == made
    assert key_of(made).public == key_of(Token.read(made.text)).public
    assert key_of(made).public != key_of(token(secret=b"t" * 32)).public


@pytest.mark.parametrize("text", ["", "csnode1.", "csnode1.!!!", "K10abc", "csnode1.AAAA"])
def test_what_is_no_token_is_refused_in_plain_words(text: str) -> None:
    with pytest.raises(Invalid, match="no join token"):
        Token.read(text)
    with pytest.raises(Invalid, match="no join token"):
        Token.read(token().text[:-20])


def test_times_are_read_as_people_write_them() -> None:
    assert [seconds_of(t) for t in ("90s", "30m", "12h", "7d")] == [90, 1800, 43200, 604800]
    for text in ("", "1", "h", "-1h", "0s", "31d", "1y"):
        with pytest.raises(Invalid):
            seconds_of(text)


def test_joining_needs_a_good_token_and_writes_over_nothing(csnode: Any, tmp_path: Path) -> None:
    file = tmp_path / "csnode.toml"
    place = ("--config", str(file), "--state", str(tmp_path / "state"))
    code, _, err = csnode("join", "csnode1.x", *place)
    assert (code, "no join token" in err) == (78, True)
    code, _, err = csnode("join", token(until=1.0).text, *place)
    assert (code, "time of this token is over" in err) == (77, True)
    code, _, err = csnode("join", token().text, *place, "--listen", "here")
    assert (code, "no IP address" in err) == (78, True)
    mine = '[node]\nhost = "mine"\n'
    file.write_text(mine)
    code, _, err = csnode("join", token().text, *place)
    assert code != 0
    assert "--force" in err
    assert file.read_text() == mine
    assert not (tmp_path / "state/trust/credential").exists()


def test_an_answer_is_believed_only_from_the_cluster_that_the_token_names() -> None:
    keys, authority = Keys.new(), new_authority()
    public = authority.public_key().public_bytes_raw()
    wanted = token(fingerprints=(fingerprint(public),))
    credential = Credential(
        cluster="c", name="hv", roles=("compute",), places=(), key=keys.public,
        verify=keys.verify, serial=1, since=wall() - 1, until=wall() + 60,
    )  # fmt: skip
    good = Joined(signed=signed(credential, authority), cluster_keys=(public,))
    assert verified(wanted, good, keys) == credential
    with pytest.raises(Denied):
        verified(token(), good, keys)
    with pytest.raises(Denied):
        verified(wanted, good, Keys.new())
    other = new_authority()
    forged = Joined(
        signed=signed(credential, other),
        cluster_keys=(other.public_key().public_bytes_raw(), public),
    )
    with pytest.raises(Denied):
        verified(wanted, forged, keys)


def test_the_configuration_of_a_machine_that_joined_is_one_that_csnode_reads() -> None:
    node = NodeConfig(cluster="c", host="hv-1", state="/srv/csnode")
    said = tomllib.loads(written(token(), node, "10.0.0.5"))
    config = Config(said)
    config.check(known_sections())
    assert config.node.roles == ("compute", "storage")
    assert (config.node.cluster, config.node.host_name) == ("c", "hv-1")
    assert said["bus"]["listen"] == "10.0.0.5"
    assert said["directory"] == {"kind": "static", "seeds": ["127.0.0.1:17670"]}
