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
    lab.power_on(host)  # with new cables
    lab.wait_ready()
    assert lab.running() == {vm: [other]}
    destroyed(lab, vm)


