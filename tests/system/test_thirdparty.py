"""Somebody else's package adds a role, a driver, a command and a kind of row by entry points."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.system.processes import Cloud, wait_for
from tests.system.test_clients import client

PACKAGE = Path(__file__).parent / "thirdparty"


@pytest.fixture
def installed(tmp_path: Path) -> Iterator[Path]:
    """The package, installed into a folder of its own that is on the path."""
    folder = tmp_path / "site"
    copy = tmp_path / "package"
    subprocess.run(["cp", "-r", str(PACKAGE), str(copy)], check=True)
    subprocess.run(
        [sys.executable, "-m", "pip", "install", "-q", "--no-deps",
         "--target", str(folder), str(copy)],
        check=True, capture_output=True,
    )  # fmt: skip
    before = os.environ.get("PYTHONPATH", "")
    os.environ["PYTHONPATH"] = f"{folder}:{before}" if before else str(folder)
    try:
        yield folder
    finally:
        os.environ["PYTHONPATH"] = before


def test_a_third_party_is_at_home(installed: Path, tmp_path: Path) -> None:
    with Cloud(tmp_path, compute={"driver": "acme"}, greeter={"step": 2}) as cloud:
        cloud.start()
        cloud.wait_ready()
        cs = client(cloud)
        host = wait_for(lambda: cs.listHosts(state="Up").get("host"), 30, "the host is Up")[0]
        assert host["hypervisorversion"] == "acme 1.0"
        made = cs.greetSomebody(whom="world")["greeting"]
        assert made["whom"] == "world"
        wait_for(
            lambda: cs.listGreetings()["greeting"][0].get("times", 0) >= 4, 30, "it was greeted"
        )
        described = {api["name"] for api in cs.listApis()["api"]}
        assert {"greetSomebody", "listGreetings"} <= described
