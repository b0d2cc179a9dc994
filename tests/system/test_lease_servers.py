"""Orchestrators whose leases are kept by ZooKeeper or Redis: nothing is lost, whoever is killed.

With Redis, events go by its streams as well: the whole cloud depends on it, and outlives it.
"""

from __future__ import annotations

import json
import threading
import time
from collections.abc import Generator, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

import pytest

from tests import servers
from tests.system.processes import Cloud, wait_for
from tests.system.test_clients import client, prepared

PROCESSES = ("data", "api", "compute,network,storage", "monitor", "fabric")
LARGE = {"latency_s": 0.3, "cpus": 4096, "memory_mib": 4_194_304}
EVERY_S = 0.25


@pytest.fixture(params=["zookeeper", "redis"])
def kept(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[tuple[Any, Cloud]]:
    """A server that keeps the leases, and a cloud with two orchestrators."""
    with ExitStack() as opened:
        if request.param == "zookeeper":
            server: Any = opened.enter_context(servers.zookeeper())
            section: dict[str, Any] = {"hosts": [server.address]}
            events = "zeromq"
        else:
            server = opened.enter_context(servers.redis())
            section, events = {"url": server.url}, "redis"
        made = Cloud(
            tmp_path,
            lease={"kind": request.param},
            bus={"events": events},
            compute={"driver": "sim", "options": LARGE},
            **{request.param: section},
        )
        cloud = opened.enter_context(made)
        for roles in PROCESSES:
            cloud.start(*roles.split(","))
        for name in ("orc-1", "orc-2"):
            cloud.start("orchestrator", name=name, settings=[f"node.name={name}"])
        cloud.wait_ready()
        yield server, cloud


class Deploys:
    """Orders a machine every quarter of a second, and sees each job to its end."""

    def __init__(self, cloud: Cloud) -> None:
        self.cs = client(cloud)
        self.params = prepared(self.cs)
        self.jobs: dict[str, float] = {}  # when it was accepted
        self.ended: dict[str, float] = {}
        self.failed: list[Any] = []
        self._over = threading.Event()

    @contextmanager
    def going_on(self) -> Generator[None]:
        """While the block runs."""
        thread = threading.Thread(target=self._order)
        thread.start()
        try:
            yield
        finally:
            self._over.set()
            thread.join()

    def _order(self) -> None:
        while not self._over.wait(EVERY_S):
            answer = self.cs.deployVirtualMachine(**self.params, fetch_result=False)
            self.jobs[answer["jobid"]] = time.monotonic()
            self.look()

    def look(self) -> bool:
        """Whether all that was accepted has ended."""
        for job in [job for job in self.jobs if job not in self.ended]:
            said = self.cs.queryAsyncJobResult(jobid=job)
            if said["jobstatus"]:
                self.ended[job] = time.monotonic()
            if said["jobstatus"] == 2:
                self.failed.append(said)
        return len(self.ended) == len(self.jobs)

    def more(self, count: int) -> None:
        """Wait until so many more have ended."""
        goal = len(self.ended) + count
        wait_for(lambda: len(self.ended) >= goal, 120, f"{count} more machines")

    def pause(self, since: float) -> float:
        """The longest time without any end of a job, from then on."""
        ends = sorted(at for at in self.ended.values() if at > since)
        return max(b - a for a, b in zip([since, *ends], ends, strict=False))


@pytest.mark.nightly
def test_no_job_is_lost_when_an_orchestrator_or_the_server_of_the_leases_is_killed(
    kept: tuple[Any, Cloud],
) -> None:
    server, cloud = kept
    deploys = Deploys(cloud)
    figures: dict[str, float] = {}
    with deploys.going_on():
        deploys.more(8)
        before = time.monotonic()
        cloud.kill("orc-1")
        deploys.more(30)
        figures["orchestrator killed"] = deploys.pause(before)
        cloud.start("orchestrator", name="orc-1", settings=["node.name=orc-1"])
        deploys.more(8)
        before = time.monotonic()
        server.restart()
        figures["server away"] = time.monotonic() - before
        deploys.more(30)
        figures["server killed and started"] = deploys.pause(before)
        before = time.monotonic()
        server.freeze()
        time.sleep(8)  # longer than any lease lasts
        server.thaw()
        deploys.more(30)
        figures["server frozen for 8 s"] = deploys.pause(before)
        if isinstance(server, servers.RedisServer):
            before = time.monotonic()
            server.forget()
            server.start()
            deploys.more(30)
            figures["server lost its data"] = deploys.pause(before)
    wait_for(deploys.look, 120, "every job ends")
    assert [said["jobresult"] for said in deploys.failed] == []
    listed = deploys.cs.listVirtualMachines(fetch_list=True)
    assert len(listed) == len(deploys.jobs)
    assert {machine["state"] for machine in listed} == {"Running"}
    print(json.dumps({name: round(seconds, 2) for name, seconds in figures.items()}))
