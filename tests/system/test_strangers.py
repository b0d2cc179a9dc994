"""A data process with another database, on a cluster that has one: neither side takes it."""

from __future__ import annotations

import sqlite3
from contextlib import closing
from pathlib import Path

from tests.system.processes import Cloud, wait_for
from tests.system.test_clients import client
from tests.system.test_health import said
from tests.system.test_status import status

OTHER = "another database of the cluster"


def other(folder: Path, *more: str) -> tuple[str, ...]:
    """Settings of a data process that has its own folder."""
    return (f"node.state={folder}", "node.name=box/other", "data.feed_keep=1000", *more)


def has_rows(database: Path) -> bool:
    try:
        with closing(sqlite3.connect(f"file:{database}?mode=ro", uri=True)) as found:
            return bool(found.execute("SELECT kind FROM head").fetchall())
    except sqlite3.Error:
        return False


def test_a_new_database_is_refused_where_there_is_one_and_nobody_hears_of_it(
    tmp_path: Path,
) -> None:
    with Cloud(tmp_path, trust={"loopback": "open"}) as cloud:
        cloud.start()
        cloud.wait_ready()
        second = cloud.start("data", name="other", settings=other(tmp_path / "other"))
        assert second.wait(30) not in (0, None)
        assert OTHER in cloud.log("other")
        del cloud.processes["other"]
        assert client(cloud).listZones()["count"] == 1


def test_a_database_of_another_cloud_is_asked_by_nobody_and_both_sides_say_so(
    tmp_path: Path,
) -> None:
    with Cloud(tmp_path, trust={"loopback": "open"}) as cloud:
        apart = ("directory.kind=alone",)
        cloud.start("data", "fabric", name="other", settings=other(tmp_path / "other", *apart))
        wait_for(
            lambda: has_rows(tmp_path / "other" / "csnode.db"), 90, "it has a cloud of its own"
        )
        cloud.kill("other")

        cloud.start("data")
        cloud.start("api", "orchestrator", "fabric", "monitor", "compute", "network", "storage")
        cloud.wait_ready()
        api = client(cloud)
        cloud.start("data", name="other", settings=other(tmp_path / "other"))
        wait_for(lambda: "is not served" in cloud.log("other"), 90, "it yields")
        wait_for(lambda: OTHER in cloud.log("data"), 30, "the other side says so too")
        warned = "[!]cloud: box/other is of another cloud"
        wait_for(lambda: warned in said(cloud, "/healthz")[1], 30, "an operator is told")
        assert "several clouds with this name" in status(cloud).stdout
        for _ in range(50):
            assert api.listZones()["count"] == 1
