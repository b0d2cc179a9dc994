"""`csnode verify` judges a running cloud from outside."""

from __future__ import annotations

import asyncio
import json
import subprocess
from pathlib import Path
from typing import Any

from csnode.cli.joined import joined, members
from csnode.config import Config
from csnode.data.store import Store
from csnode.model.host import Host, Seen, StoragePool
from csnode.model.stock import Lock
from csnode.model.template import Template
from tests.system.processes import CSNODE, Cloud, wait_for

LOST = "00000000-0000-4000-8000-00000000dead"


def verified(cloud: Cloud, *more: str) -> tuple[int, Any]:
    command = (str(CSNODE), "--config", str(cloud.file), "verify", "--output", "json", *more)
    ended = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)
    assert ended.returncode in (0, 1, 69), ended.stderr
    return ended.returncode, json.loads(ended.stdout or "{}")


async def _rows(cloud: Cloud, *, plant: bool = False) -> bool:
    """Whether every host is up; `plant` leaves a lock that serves no job."""
    async with joined(Config.read(cloud.file, {}, {})) as bus:
        await members(bus)
        store = Store(bus, "", "test")
        if plant:
            change = store.change()
            change.create(Lock(id=f"template:{LOST}", job=LOST))
            await change.commit()
        up = [host for host in await store.find(Host) if host.seen is Seen.UP]
        return bool(up and await store.find(StoragePool)) and not await store.find(Template)


def test_a_clean_cloud_ends_with_0_and_an_orphan_with_1_until_it_is_repaired(
    tmp_path: Path,
) -> None:
    with Cloud(tmp_path) as cloud:
        cloud.start()
        cloud.wait_ready()
        wait_for(lambda: asyncio.run(_rows(cloud)), 60, "the host is up")
        code, found = verified(cloud)
        assert (code, found["findings"]) == (0, []), found
        assert found["looked at"]["hosts"] == 1
        asyncio.run(_rows(cloud, plant=True))
        code, found = verified(cloud)
        assert code == 1
        [finding] = found["findings"]
        assert (finding["check"], finding["id"]) == ("lock-without-job", f"template:{LOST}")
        assert finding["cause"]
        assert finding["remedy"]
        code, found = verified(cloud, "--repair")
        assert (code, found["findings"]) == (0, []), found
        assert [one["did"] for one in found["repaired"]] == ["deleted the lock"]
