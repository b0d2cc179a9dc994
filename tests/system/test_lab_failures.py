"""Hosts of the lab fail, are cut off, lose csnode: what their machines do is seen from outside.

One lab for all of it. Figures are printed, and kept in var/lab-figures.json.
"""

from __future__ import annotations

import os
import shutil
import tempfile
import time
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest
import requests

from tests.lab.guests import (
    FIGURES,
    KEEPING,
    Watcher,
    alerts,
    deploy,
    destroyed,
    figure,
    home,
    host_id,
    kept_answering,
    leased,
    pinger,
    pongs,
    ready,
    resource,
    shown,
    state,
    told,
    verified,
    where,
)
from tests.lab.lab import Lab
from tests.lab.pools import of_their_own
from tests.lab.shell import wait_for

pytestmark = pytest.mark.real
LOSS = 15  # of a hundred frames, each way
FULL = 4  # machines, of one CPU: then both hosts are
NIGHTLY = "NIGHTLY" in os.environ
WAVES = 8 if NIGHTLY else 2


@pytest.fixture(scope="module")
def lab(request: pytest.FixtureRequest) -> Iterator[Lab]:
    folder = Path(tempfile.mkdtemp(prefix="lab-", dir="/tmp"))
    folder.chmod(0o755)
    FIGURES.parent.mkdir(exist_ok=True)
    FIGURES.unlink(missing_ok=True)
    made = Lab(folder / "lab")
    try:
        with made:
            failed = request.session.testsfailed
            yield made
            if request.session.testsfailed > failed:
                made.tell()
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
    sent, received = kept_answering(pinging)
    before = pongs(lab, two["id"])
    wait_for(lambda: pongs(lab, two["id"]) > before + 1, "and still does", 60)
    assert ready(lab, one["id"]) <= 1  # it did not boot again
    figure(migration_job_s=took, pings_sent=sent, pings_lost=sent - received)
    destroyed(lab, one["id"], two["id"])


@pytest.mark.nightly
def test_a_machine_moves_with_its_disk_while_it_is_pinged(lab: Lab, watched: Watcher) -> None:
    with of_their_own(lab) as pools:
        vm = deploy(lab, "local", script=KEEPING)
        source = home(lab, vm["id"])
        target = "h2" if source == "h1" else "h1"
        [wrote] = wait_for(lambda: told(lab, vm["id"], "wrote"), "it wrote to its disk", 30)
        disk = lab.client().listVolumes(virtualmachineid=vm["id"])["volume"][0]
        assert pools[disk["storage"]].name == source
        pinging = pinger(lab, vm["nic"][0]["ipaddress"])
        began = time.monotonic()
        lab.client().migrateVirtualMachineWithVolume(
            virtualmachineid=vm["id"], hostid=host_id(lab, target), fetch_result=True
        )
        took = time.monotonic() - began
        assert home(lab, vm["id"]) == target
        sent, received = kept_answering(pinging, 0.2)
        figure(local_migration_job_s=took, local_pings_sent=sent, local_pings_lost=sent - received)
        moved = lab.client().listVolumes(virtualmachineid=vm["id"])["volume"][0]
        assert (moved["id"], pools[moved["storage"]].name) == (disk["id"], target)
        assert {at: files(lab, at, disk["id"]) for at in ("h1", "h2")} == {source: 0, target: 1}
        assert set(told(lab, vm["id"], "reads")) == {wrote}
        if NIGHTLY:
            lab.client().rebootVirtualMachine(id=vm["id"], fetch_result=True)
            wait_for(lambda: told(lab, vm["id"], "found") == [wrote], "it finds what it wrote", 120)
        destroyed(lab, vm["id"])


def files(lab: Lab, host: str, disk: str) -> int:
    """How many the host has of that disk."""
    return len([*(lab.hosts[host].folder / "state").rglob(f"{disk}*")])


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


@pytest.mark.nightly
def test_a_network_that_loses_frames_loses_no_job(lab: Lab, watched: Watcher) -> None:
    """On both hosts with guests and on a controller."""
    cs, prepared, already = lab.client(), lab.prepared(), len(lab.fencing.fenced)
    took: list[float] = []
    for host in ("h1", "h2", "c2"):
        lab.lose(host, LOSS)
    try:
        for wave in range(WAVES):
            names = [f"lossy-{wave}-{n}" for n in range(FULL)]
            took += all_done(cs, [cs.deployVirtualMachine(**prepared, name=name) for name in names])
            ids = [each["id"] for each in cs.listVirtualMachines()["virtualmachine"]]
            assert len(ids) == FULL
            took += all_done(cs, [cs.destroyVirtualMachine(id=vm, expunge=True) for vm in ids])
    finally:
        for host in ("h1", "h2", "c2"):
            lab.heal(host)
    figure(lossy_jobs=len(took), lossy_job_mean_s=sum(took) / len(took), lossy_job_max_s=max(took))
    assert lab.fencing.fenced[already:] == []
    lab.wait_ready()
    assert lab.running() == {}
    clean(lab)


def all_done(cs: Any, orders: list[dict[str, Any]], seconds: float = 180) -> list[float]:
    """Every one of these jobs ends, and well; answers how long after this call each did.

    A call that fails is asked again, as a client does.
    """
    began, open = time.monotonic(), {order["jobid"] for order in orders}
    took: list[float] = []

    def look() -> bool:
        for job in [*open]:
            with suppress(requests.RequestException):
                found = cs.queryAsyncJobResult(jobid=job)
                if found["jobstatus"]:
                    assert found["jobstatus"] == 1, str(found["jobresult"])
                    took.append(time.monotonic() - began)
                    open.discard(job)
        return not open

    wait_for(look, f"jobs {open} end", seconds)
    return took


def clean(lab: Lab) -> None:
    """No job is open, and `csnode verify` finds nothing."""
    jobs = lab.client().listAsyncJobs(listall=True).get("asyncjobs", [])
    assert [job for job in jobs if not job["jobstatus"]] == []
    found = wait_for(lambda: not (said := verified(lab)) or said, "verify answers")
    if found is not True:  # what it saw may be of a moment
        wait_for(lambda: not verified(lab), f"verify finds nothing any more: {found}", 90)


@pytest.mark.nightly
def test_a_controller_loses_power_and_the_other_takes_all_its_work(
    lab: Lab, watched: Watcher
) -> None:
    """What is asked at the other api is answered, and every job ends."""
    cs, prepared, already = lab.client("c2"), lab.prepared(), len(lab.fencing.fenced)
    made = [cs.deployVirtualMachine(**prepared, name=f"before-{n}") for n in range(FULL // 2)]
    lab.power_off("c1")
    lost = time.monotonic()
    made += [cs.deployVirtualMachine(**prepared, name=f"after-{n}") for n in range(FULL // 2)]
    accepted = time.monotonic() - lost
    all_done(cs, made)
    figure(controller_off_to_accepted_s=accepted, controller_off_to_ended_s=time.monotonic() - lost)
    wait_for(lambda: "c1" not in holders(lab), "c1 holds no lease")
    wait_for(lambda: leased(lab).get("monitor", "").startswith("c2/"), "c2 has the monitor's")
    assert len(lab.running()) == FULL
    lab.power_on("c1")
    lab.wait_ready()
    cs = lab.client("c1")
    all_done(cs, [cs.destroyVirtualMachine(id=each["id"], expunge=True) for each in made])
    wait_for(lambda: holders(lab) == {"c1", "c2"}, "c1 is used again")
    assert lab.fencing.fenced[already:] == []
    clean(lab)


def holders(lab: Lab) -> set[str]:
    """The controllers that hold a lease."""
    return {holder.partition("/")[0] for holder in leased(lab).values()}
