"""Hosts of the lab fail, are cut off, lose csnode: what their machines do is seen from outside.

One lab for all of it. Figures are printed, and kept in var/lab-figures.json.
"""

from __future__ import annotations

import base64
import json
import re
import shutil
import tempfile
import threading
import time
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest

from tests.lab.lab import ROOT, Lab
from tests.lab.shell import wait_for

pytestmark = pytest.mark.real
FIGURES = ROOT / "var" / "lab-figures.json"
PINGING = """#!/bin/sh
(while :; do ping -c 1 -W 1 {peer} >/dev/null && echo "pong {peer}" >/dev/console; sleep 1; done) &
"""


class Watcher(threading.Thread):
    """Asks both libvirtds what runs, over and over; remembers what was ever on two hosts."""

    def __init__(self, lab: Lab) -> None:
        super().__init__(daemon=True)
        self.lab, self.over = lab, threading.Event()
        self.samples = 0
        self.twice: list[dict[str, list[str]]] = []
        self.seen: list[tuple[float, dict[str, list[str]]]] = []

    def run(self) -> None:
        while not self.over.wait(0.1):
            with suppress(AssertionError):  # a libvirtd that is just dying
                found = self.lab.running()
                self.samples += 1
                self.seen.append((time.monotonic(), found))
                if any(len(hosts) > 1 for hosts in found.values()):
                    self.twice.append(found)


@pytest.fixture(scope="module")
def lab() -> Iterator[Lab]:
    folder = Path(tempfile.mkdtemp(prefix="lab-", dir="/tmp"))
    folder.chmod(0o755)
    FIGURES.parent.mkdir(exist_ok=True)
    FIGURES.unlink(missing_ok=True)
    made = Lab(folder / "lab")
    try:
        with made:
            yield made
        assert made.left() == set()
    finally:
        shutil.rmtree(folder, ignore_errors=True)


@pytest.fixture
def watched(lab: Lab) -> Iterator[Watcher]:
    """While the test runs, no machine is ever on two hosts."""
    watcher = Watcher(lab)
    watcher.start()
    yield watcher
    watcher.over.set()
    watcher.join()
    assert watcher.samples > 10
    assert watcher.twice == []


def figure(**figures: float) -> None:
    known: dict[str, float] = json.loads(FIGURES.read_text()) if FIGURES.exists() else {}
    FIGURES.write_text(json.dumps(known | {k: round(v, 2) for k, v in figures.items()}))
    print(figures)


def offering(lab: Lab) -> str:
    """The id of one that is kept running."""
    cs = lab.client()
    known = cs.listServiceOfferings(name="kept")
    if not known:
        made = cs.createServiceOffering(
            name="kept", displaytext="kept", cpunumber=1, cpuspeed=500, memory=160, offerha=True
        )
        return str(made["serviceoffering"]["id"])
    return str(known["serviceoffering"][0]["id"])


def deploy(lab: Lab, name: str, peer: str = "", **more: Any) -> dict[str, Any]:
    """A machine that runs its start script; its guest is READY."""
    script = PINGING.format(peer=peer) if peer else "#!/bin/sh\n"
    asked = {**lab.prepared(), "serviceofferingid": offering(lab), "name": name, **more}
    asked["userdata"] = base64.b64encode(script.encode()).decode()
    made = lab.client().deployVirtualMachine(**asked, fetch_result=True)["virtualmachine"]
    wait_for(lambda: ready(lab, made["id"]) > 0, f"{name} is READY", 120)
    return made  # type: ignore[no-any-return]


def ready(lab: Lab, vm: str) -> int:
    """How often the guest has come up."""
    return lab.console(vm).count("READY hostname=")


def pongs(lab: Lab, vm: str) -> int:
    return lab.console(vm).count("pong ")


def where(lab: Lab) -> dict[str, list[str]]:
    """On which hosts machines run; nothing while a libvirtd is just dying."""
    with suppress(AssertionError):
        return lab.running()
    return {}


def home(lab: Lab, vm: str) -> str:
    """The one host that it runs on."""
    (host,) = lab.running()[vm]
    return host


def host_id(lab: Lab, name: str) -> str:
    return str(lab.client().listHosts(name=name)["host"][0]["id"])


def shown(lab: Lab, host: str) -> str:
    return str(lab.client().listHosts(name=host)["host"][0]["state"])


def destroyed(lab: Lab, *vms: str) -> None:
    for vm in vms:
        lab.client().destroyVirtualMachine(id=vm, expunge=True, fetch_result=True)


def test_csnode_dies_on_a_host_and_its_guests_do_not_notice(lab: Lab, watched: Watcher) -> None:
    vm = deploy(lab, "steady")["id"]
    host = home(lab, vm)
    pids = lab.hosts[host].virsh("domid", vm)
    for name in lab.hosts[host].plan.processes:
        lab.kill(host, name)
    wait_for(lambda: shown(lab, host) in {"Alert", "Disconnected"}, "it is missed", 60)
    time.sleep(12)  # twice as long as a dead host is given
    assert lab.fencing.fenced == []
    assert home(lab, vm) == host
    lab.start_csnode(host)
    wait_for(lambda: shown(lab, host) == "Up", "it is Up again", 60)
    assert lab.hosts[host].virsh("domid", vm) == pids
    assert ready(lab, vm) == 1
    destroyed(lab, vm)


def test_a_machine_moves_while_it_is_pinged(lab: Lab, watched: Watcher) -> None:
    one = deploy(lab, "one")
    two = deploy(lab, "two", peer="one")
    wait_for(lambda: pongs(lab, two["id"]) > 0, "one answers two", 60)
    source = home(lab, one["id"])
    target = "h2" if source == "h1" else "h1"
    network = one["nic"][0]
    pinging = pinger(lab, network["ipaddress"])
    began = time.monotonic()
    moved = lab.client().migrateVirtualMachine(
        virtualmachineid=one["id"], hostid=host_id(lab, target), fetch_result=True
    )
    took = time.monotonic() - began
    assert moved["virtualmachine"]["hostname"] == target
    assert home(lab, one["id"]) == target
    sent, received = pinging()
    assert received > 0
    before = pongs(lab, two["id"])
    wait_for(lambda: pongs(lab, two["id"]) > before + 1, "and still does", 60)
    assert ready(lab, one["id"]) <= 1  # it did not boot again
    figure(migration_job_s=took, pings_sent=sent, pings_lost=sent - received)
    destroyed(lab, one["id"], two["id"])


def pinger(lab: Lab, address: str) -> Any:
    """Ping the guest from its router ten times a second; called, it answers sent and received."""
    for host in (h for h in lab.hosts.values() if h.plan.guests):
        for namespace in host.run("ip", "netns", "list").split():
            if "r-" not in namespace:
                continue
            enter = ("ip", "netns", "exec", namespace)
            if "1 received" in host.run(*enter, "ping", "-c1", "-W2", address, check=False):
                ping = host.popen(*enter, "ping", "-i", "0.1", "-w", "25", address)
                return lambda: counted(ping)
    raise AssertionError(f"no router reaches {address}")


def counted(ping: Any) -> tuple[int, int]:
    said, _ = ping.communicate(timeout=60)
    found = re.search(r"(\d+) packets transmitted, (\d+) received", said)
    assert found, said
    return int(found[1]), int(found[2])


def test_a_host_loses_power_and_its_machine_runs_elsewhere(lab: Lab, watched: Watcher) -> None:
    vm = deploy(lab, "kept")["id"]
    host = home(lab, vm)
    other = "h2" if host == "h1" else "h1"
    lost = time.monotonic()
    lab.power_off(host)
    wait_for(lambda: where(lab).get(vm) == [other], "it runs elsewhere", 120)
    started = time.monotonic() - lost
    wait_for(lambda: ready(lab, vm) == 2, "its guest is READY again", 180)
    figure(power_off_to_domain_s=started, power_off_to_ready_s=time.monotonic() - lost)
    wait_for(lambda: state(lab, vm) == "Running", "it is shown so", 30)
    lab.power_on(host)
    lab.wait_ready()
    wait_for(lambda: resource(lab, host) == "Enabled", "the host is taken back", 60)
    assert lab.running() == {vm: [other]}
    destroyed(lab, vm)


def state(lab: Lab, vm: str) -> str:
    return str(lab.client().listVirtualMachines(id=vm)["virtualmachine"][0]["state"])


def resource(lab: Lab, host: str) -> str:
    return str(lab.client().listHosts(name=host)["host"][0]["resourcestate"])


def test_a_host_is_cut_off_and_no_machine_runs_twice(lab: Lab, watched: Watcher) -> None:
    """First nobody can switch it off: nothing starts, and an alert says why. Then somebody can."""
    vm = deploy(lab, "alone")["id"]
    host = home(lab, vm)
    other = "h2" if host == "h1" else "h1"
    already = len(lab.fencing.fenced)
    lab.fencing.silent = True
    lab.cut(host)
    wait_for(lambda: "nobody can prove it" in alerts(lab), "an alert says why it waits", 120)
    assert lab.running() == {vm: [host]}
    assert lab.fencing.fenced[already:] == []
    lab.fencing.silent = False
    cut = time.monotonic()
    wait_for(lambda: where(lab).get(vm) == [other], "it runs elsewhere", 180)
    figure(fencer_back_to_domain_s=time.monotonic() - cut)
    assert set(lab.fencing.fenced[already:]) == {host}  # perhaps asked twice
    wait_for(lambda: ready(lab, vm) == 2, "its guest is READY again", 180)
    lab.heal(host)
    lab.power_on(host)
    lab.wait_ready()
    assert lab.running() == {vm: [other]}
    destroyed(lab, vm)


def alerts(lab: Lab) -> str:
    found = lab.client().listAlerts().get("alert", [])
    return "\n".join(alert["description"] for alert in found)
