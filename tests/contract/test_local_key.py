"""Without a credential the processes of one owner share a key, and other users have none."""

from __future__ import annotations

import os
import stat
from concurrent.futures import ThreadPoolExecutor
from contextlib import AsyncExitStack
from pathlib import Path
from tempfile import TemporaryDirectory

import pytest

from csnode.bus.zeromq import ZmqBus
from csnode.config import Config
from csnode.directory.beacon import Beacon, Says, Seal
from csnode.directory.incarnation import next_incarnation
from csnode.faults import Denied, Invalid, Refused
from csnode.node import Node
from csnode.trust import files
from csnode.trust.local import LocalKey
from csnode.trust.trust import Trust


def config(folder: Path, **trust: object) -> Config:
    return Config(
        {
            "node": {"cluster": "tests", "host": "m", "state": str(folder)},
            "directory": {"kind": "alone"},
            "trust": trust,
        }
    )


def test_the_first_process_makes_the_key_for_all(tmp_path: Path) -> None:
    folder = tmp_path / "trust"
    with ThreadPoolExecutor(8) as threads:
        made = list(threads.map(LocalKey.made, [folder] * 8))
    assert len({key.keys.public for key in made}) == 1
    assert sorted(file.name for file in folder.iterdir()) == [files.LOCAL]


def test_only_its_owner_reads_the_key(tmp_path: Path) -> None:
    folder = tmp_path / "trust"
    made = LocalKey.made(folder)
    assert stat.S_IMODE((folder / files.LOCAL).stat().st_mode) == 0o600
    assert stat.S_IMODE(folder.stat().st_mode) == 0o700
    (folder / files.LOCAL).chmod(0o644)
    with pytest.raises(Refused, match="others may read it: chmod 600"):
        LocalKey.read(folder)
    assert made.who(made.keys.public) is not None
    assert made.who(LocalKey.new().keys.public) is None


@pytest.mark.parametrize("closed", ["folder", "file"])
def test_another_user_is_told_whose_the_key_is(closed: str) -> None:
    with TemporaryDirectory() as place:
        Path(place).chmod(0o755)
        folder = Path(place, "trust")
        LocalKey.made(folder)
        if closed == "file":
            folder.chmod(0o755)
        os.seteuid(65534)
        try:
            for how in (LocalKey.read, LocalKey.made, Trust.read):
                with pytest.raises(Denied, match="for their owner and root only"):
                    how(folder)
                if closed == "file":  # that there is no credential is no secret
                    assert Trust.read(folder) is None
                    break
        finally:
            os.seteuid(0)


def test_a_beacon_of_another_key_is_not_heard() -> None:
    ours, theirs = LocalKey.new(), LocalKey.new()
    said = Beacon(says=Says.WHO)
    seal = Seal("tests", mark=ours.mark)
    assert seal.opened(Seal("tests", mark=ours.mark).packed(said)) == said
    assert seal.opened(Seal("tests", mark=theirs.mark).packed(said)) is None
    assert seal.opened(Seal("tests").packed(said)) is None
    assert Seal("tests").opened(seal.packed(said)) is None
    assert not seal.keyed  # it is not a credential: beyond loopback it counts for nothing


async def _key_of(said: Config, plays: bool = True) -> str:
    async with AsyncExitStack() as stack:
        bus = await Node(said).enter_bus(stack, plays)
        assert isinstance(bus, ZmqBus)
        return bus.key


async def test_a_command_uses_the_key_of_the_nodes_and_makes_none(tmp_path: Path) -> None:
    said = config(tmp_path)
    stranger = await _key_of(said, plays=False)
    assert not (tmp_path / "trust").exists()
    key = await _key_of(said)
    assert key == LocalKey.made(tmp_path / "trust").keys.public
    assert key == await _key_of(said, plays=False) != stranger


@pytest.mark.parametrize("setting", ["open", ""])
async def test_loopback_is_open_if_an_operator_says_so_or_older_versions_may_be_there(
    tmp_path: Path, setting: str
) -> None:
    if not setting:
        next_incarnation(str(tmp_path), "m/data")  # as a version without local keys did
    said = config(tmp_path, loopback=setting)
    assert [await _key_of(said, plays) for plays in (True, False)] == ["", ""]
    assert not (tmp_path / "trust").exists()
    async with AsyncExitStack() as stack:
        node = Node(said)
        node.bus = await node.enter_bus(stack)
        assert "every user of this machine may join" in node.warnings()["trust"][0]
    said = config(tmp_path, loopback="key")
    assert await _key_of(said) == await _key_of(said, plays=False) != ""
    assert await _key_of(config(tmp_path)) == await _key_of(said)


async def test_another_word_about_loopback_is_refused(tmp_path: Path) -> None:
    with pytest.raises(Invalid, match=r"\[trust\] loopback: 'shut' is neither"):
        await _key_of(config(tmp_path, loopback="shut"))
