"""The data role passes its suite, and loses nothing when it is killed."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

from csnode.bus.bus import Bus
from csnode.bus.local import LocalBus
from csnode.contracts.data import Commit, Data, Take
from csnode.data.rows import decoded
from csnode.directory.alone import AloneDirectory
from csnode.model.place import Zone
from csnode.model.stock import Taken
from csnode.testing.data import DataSuite, DurableDataSuite
from csnode.testing.data_cloud import created
from roles.data.config import DataConfig
from tests.contract.data_writer import playing


class TestThreads(DurableDataSuite):
    def serving(self, bus: Bus, state: Path, feed_keep: int):
        return playing(bus, DataConfig(path=str(state / "d.db"), feed_keep=feed_keep))


class TestInlineFile(DurableDataSuite):
    def serving(self, bus: Bus, state: Path, feed_keep: int):
        path = str(state / "d.db")
        return playing(bus, DataConfig(path=path, inline=True, feed_keep=feed_keep))


class TestInlineMemory(DataSuite):
    def serving(self, bus: Bus, state: Path, feed_keep: int):
        return playing(bus, DataConfig(path=":memory:", inline=True, feed_keep=feed_keep))


class TestOneCommitABatch(DataSuite):
    """Whatever shares a transaction, the outcome is the same."""

    def serving(self, bus: Bus, state: Path, feed_keep: int):
        config = DataConfig(path=":memory:", inline=True, feed_keep=feed_keep, batch_max=1)
        return playing(bus, config)


async def test_a_killed_writer_loses_nothing_it_acknowledged(tmp_path: Path) -> None:
    """Three lives on one file, each killed in the middle of its work."""
    path = tmp_path / "d.db"
    for life in range(3):
        acknowledged = write_and_kill(path, life, at_least=300)
        bus = LocalBus(AloneDirectory())
        async with playing(bus, DataConfig(path=str(path))):
            data = bus.ask(Data)
            feed = await data.feed(0, ("range", "zone", "taken"), 1_000_000)
            assert [e.number for _, e in feed.entries] == list(range(1, len(feed.entries) + 1))
            fed = {entry.id: entry.number for kind, entry in feed.entries if kind == "zone"}
            assert {id: fed.get(id) for id in acknowledged} == acknowledged
            for id in acknowledged:
                assert (await data.get("zone", id)).id == id
            found = await data.find("taken", {"range": "r"}, "", 1_000_000)
            values = sorted(decoded(Taken, row.row).value for row in found)
            assert values == list(range(len(fed)))
            assert await data.check() == ()
            for id, number in [*fed.items()][-50:]:  # the last may never have been acknowledged
                zone, take = created(Zone(id=id, name=id)), Take(range="r", owner=id)
                again = await data.commit(Commit(changes=(zone, take), token=id))
                assert again.number - 1 == number
            assert await data.head(("zone", "taken", "range")) == len(feed.entries)


def write_and_kill(path: Path, life: int, at_least: int) -> dict[str, int]:
    """Ids and numbers that the process said were on disk before it was killed."""
    here = [sys.executable, "-m", "tests.contract.data_writer", str(path), str(life)]
    with subprocess.Popen(here, stdout=subprocess.PIPE, text=True) as writer:
        assert writer.stdout
        lines: list[str] = []
        for line in writer.stdout:
            lines.append(line)
            if len(lines) == at_least:
                writer.kill()
    assert len(lines) >= at_least
    whole = [line.split() for line in lines if line.endswith("\n")]
    return {id: int(number) for id, number in whole}
