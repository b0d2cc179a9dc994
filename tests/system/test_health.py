"""A cloud whose Redis is away goes on serving, and whoever looks is told what it does without."""

from __future__ import annotations

import urllib.request
from pathlib import Path

from tests import servers
from tests.system.processes import Cloud, wait_for
from tests.system.test_clients import client


def said(cloud: Cloud, path: str) -> tuple[int, str]:
    with urllib.request.urlopen(cloud.url.replace("/client/api", path), timeout=5) as answer:
        return answer.status, answer.read().decode()


def test_a_server_that_is_away_is_named_and_takes_no_traffic_from_anybody(tmp_path: Path) -> None:
    with servers.redis() as server:
        made = Cloud(
            tmp_path,
            directory={"kind": "redis"},
            bus={"events": "redis"},
            redis={"url": server.url},
            compute={"driver": "sim"},
        )
        with made as cloud:
            cloud.start("data", "compute", "network", "storage", "monitor", "fabric")
            cloud.start("api", "orchestrator")
            cloud.wait_ready()
            assert said(cloud, "/healthz") == (200, "ok\n")

            server.kill()
            warned = ("[!]directory: Redis has not answered", "[!]events: Redis has not answered")
            wait_for(lambda: all(w in said(cloud, "/healthz")[1] for w in warned), 30, "both told")
            assert said(cloud, "/readyz") == (200, "ok\n")
            assert client(cloud).listZones()["count"] == 1

            server.start()
            wait_for(lambda: said(cloud, "/healthz") == (200, "ok\n"), 30, "nothing to tell")
