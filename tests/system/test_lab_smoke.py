"""Two hypervisor hosts, two controllers, one guest network: guests reach each other over it."""

from __future__ import annotations

import base64
import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.lab.lab import Lab
from tests.lab.shell import wait_for

pytestmark = pytest.mark.real
ASKING = """#!/bin/sh
(until ping -c 1 -W 2 {peer} >/dev/null; do sleep 1; done
echo "{peer} answers $(hostname)" >/dev/console) &
"""


@pytest.fixture
def folder() -> Iterator[Path]:
    """Sockets need a short path, and dnsmasq drops to a user of its own."""
    made = Path(tempfile.mkdtemp(prefix="lab-", dir="/tmp"))
    made.chmod(0o755)
    try:
        yield made / "lab"
    finally:
        shutil.rmtree(made, ignore_errors=True)


def deploy(lab: Lab, api: str, host: str, name: str, peer: str) -> dict[str, Any]:
    """A machine on that host that asks for its peer until it answers."""
    cs = lab.client(api)
    script = ASKING.format(peer=peer).encode()
    at = cs.listHosts(name=host)["host"][0]["id"]
    asked = {"name": name, "hostid": at, "userdata": base64.b64encode(script).decode()}
    made = cs.deployVirtualMachine(**lab.prepared(), **asked, fetch_result=True)
    return made["virtualmachine"]  # type: ignore[no-any-return]


def test_guests_of_one_network_on_two_hosts_reach_each_other(folder: Path) -> None:
    lab = Lab(folder)
    with lab:
        one = deploy(lab, "c1", "h1", "one", peer="two")
        two = deploy(lab, "c2", "h2", "two", peer="one")
        assert lab.running() == {one["id"]: ["h1"], two["id"]: ["h2"]}
        assert one["nic"][0]["networkid"] == two["nic"][0]["networkid"]
        for vm, peer in ((one, two), (two, one)):
            said = f"{peer['name']} answers {vm['name']}"
            wait_for(lambda vm=vm, said=said: said in lab.console(vm["id"]), said, 90)
    assert lab.left() == set()


@pytest.mark.nightly
def test_a_host_is_cut_off_and_loses_its_power_and_csnode_dies_on_it(folder: Path) -> None:
    lab = Lab(folder)
    with lab:
        reach = ("ping", "-c", "2", "-i", "0.2", "-W", "1", lab.hosts["h1"].address)
        assert "0% packet loss" in lab.switch.run(*reach)
        lab.cut("h1")
        assert "100% packet loss" in lab.switch.run(*reach, check=False)
        lab.heal("h1")
        wait_for(lambda: " 0% packet loss" in lab.switch.run(*reach, check=False), "it is healed")
        lab.lose("h1", 100)
        assert "100% packet loss" in lab.switch.run(*reach, check=False)
        lab.lose("h1", 50)
        many = ("ping", "-c", "40", "-i", "0.02", "-W", "1", lab.hosts["h1"].address)
        said = lab.switch.run(*many, check=False)
        assert 2 < int(said.split(" received")[0].split()[-1]) < 35
        lab.heal("h1")
        assert " 0% packet loss" in lab.switch.run(*reach)

        before = lab.hosts["h1"].pid("compute+network+storage")
        lab.kill("h1", "compute+network+storage")
        assert not lab.hosts["h1"].pid("compute+network+storage")
        lab.start("h1", "compute+network+storage")
        assert lab.hosts["h1"].pid("compute+network+storage") not in {0, before}

        lab.power_off("h2")
        assert "100% packet loss" in lab.switch.run(
            *reach[:-1], lab.hosts["h2"].address, check=False
        )
        lab.power_on("h2")
        lab.wait_ready()
    assert lab.left() == set()
