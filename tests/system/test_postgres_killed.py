"""A cloud on PostgreSQL with two data processes: nothing is lost, whichever is killed."""

from __future__ import annotations

import json
import time
from collections.abc import Generator, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from tests import servers
from tests.system.processes import Cloud, wait_for
from tests.system.test_lease_servers import LARGE, PROCESSES, Deploys

DATA = ("data-1", "data-2")


@pytest.fixture
def on_postgres(tmp_path: Path) -> Iterator[tuple[servers.PostgresServer, Cloud]]:
    """The server, and a cloud of two data processes and two orchestrators on it."""
    with servers.postgres() as server, playing(tmp_path, server.database()) as cloud:
        yield server, cloud


@contextmanager
def playing(tmp_path: Path, url: str) -> Generator[Cloud]:
    sim = {"driver": "sim", "options": LARGE}
    with Cloud(tmp_path, data={"url": url}, compute=sim) as cloud:
        for name in DATA:
            cloud.start("data", name=name, settings=[f"node.name={name}"])
        for roles in PROCESSES:
            if roles != "data":
                cloud.start(*roles.split(","))
        for name in ("orc-1", "orc-2"):
            cloud.start("orchestrator", name=name, settings=[f"node.name={name}"])
        cloud.wait_ready()
        yield cloud


@pytest.mark.nightly
def test_no_job_is_lost_when_a_data_process_or_the_server_is_killed(
    on_postgres: tuple[servers.PostgresServer, Cloud],
) -> None:
    server, cloud = on_postgres
    deploys = Deploys(cloud)
    figures: dict[str, float] = {}
    with deploys.going_on():
        deploys.more(8)
        for name in DATA:
            before = time.monotonic()
            cloud.kill(name)
            deploys.more(20)
            figures[f"{name} killed"] = deploys.pause(before)
            cloud.start("data", name=name, settings=[f"node.name={name}"])
            deploys.more(8)
        before = time.monotonic()
        server.restart()
        figures["server away"] = time.monotonic() - before
        deploys.more(20)
        figures["server killed and started"] = deploys.pause(before)
        before = time.monotonic()
        server.freeze()
        time.sleep(4)
        server.thaw()
        deploys.more(20)
        figures["server frozen for 4 s"] = deploys.pause(before)
    all_run(deploys)
    print(json.dumps({name: round(seconds, 2) for name, seconds in figures.items()}))


@pytest.mark.nightly
def test_no_job_is_lost_when_the_primary_is_killed_and_its_standby_is_promoted(
    tmp_path: Path,
) -> None:
    with servers.postgres_pair() as (primary, standby):
        name = primary.database().rpartition("/")[2]
        primary.setting("synchronous_standby_names", "*")
        both = f"{primary.address},{standby.address}"
        url = f"postgresql://{primary.login()}@{both}/{name}"
        with playing(tmp_path, url) as cloud:
            deploys = Deploys(cloud)
            with deploys.going_on():
                deploys.more(8)
                before = time.monotonic()
                primary.kill()
                standby.promote()
                standby.setting("synchronous_standby_names", "")
                deploys.more(20)
                print(json.dumps({"failed over": round(deploys.pause(before), 2)}))
            all_run(deploys)


def all_run(deploys: Deploys) -> None:
    """Every job ends well, and every machine that was ordered is there."""
    wait_for(deploys.look, 120, "every job ends")
    assert [said["jobresult"] for said in deploys.failed] == []
    listed = deploys.cs.listVirtualMachines(fetch_list=True)
    assert len(listed) == len(deploys.jobs)
    assert {machine["state"] for machine in listed} == {"Running"}
