"""The checks of `verify` as functions of evidence: what they say, and when they keep silent."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from msgspec.structs import replace

from csnode.contracts.data import Row
from csnode.data.rows import encoded
from csnode.model.entity import Entity
from csnode.model.job import Job, JobState
from csnode.model.machine import FoundDomain, Holdings
from csnode.model.stock import Lock
from csnode.model.vm import Vm, Want
from csnode.model.volume import Volume
from csnode.types import (
    AccountId,
    DomainId,
    HostId,
    OfferingId,
    PoolId,
    Power,
    TemplateId,
    VmId,
    VolumeId,
    ZoneId,
)
from csnode.verify import disks, domains, jobs, machines
from csnode.verify.evidence import Evidence
from csnode.verify.finding import Finding, OrderStop
from csnode.verify.judge import CHECKS, judged
from csnode.verify.rows import KINDS, Rows

HERE, THERE, POOL = HostId("here"), HostId("there"), PoolId("pool")


def evidence(*rows: Entity) -> Evidence:
    """Nothing but these rows, and two hosts and a pool that have nothing."""
    held = Rows()
    for row in rows:
        held.of(type(row))[row.id] = row
    seen = Evidence(held)
    seen.wall = 1000.0
    seen.domains |= {HERE: (), THERE: ()}
    seen.pools[POOL] = Holdings(volumes=(), templates=())
    return seen


def a_vm(**columns: Any) -> Vm:
    plain = Vm(
        id="vm", name="web", account=AccountId("a"), domain=DomainId("d"), zone=ZoneId("z"),
        offering=OfferingId("o"), template=TemplateId("t"), cpus=1, memory_mib=512,
        host=HERE, maybe_on=(HERE,), power=Power.ON,
    )  # fmt: skip
    return replace(plain, **columns)


def a_job(**columns: Any) -> Job:
    plain = Job(id="job", verb="start_vm", order={}, object_id="vm", needs=("vm:vm",))
    return replace(plain, **columns)


def names(found: Iterable[Finding]) -> list[str]:
    return sorted(finding.check for finding in found)


def test_a_machine_that_no_host_has_is_lost_and_its_stop_is_safe() -> None:
    [finding] = domains.records(evidence(a_vm(revision=7)))
    assert finding.check == "domain-gone"
    assert finding.repair == OrderStop(vm=VmId("vm"), revision=7)


def test_a_machine_is_not_lost_while_its_host_is_silent() -> None:
    seen = evidence(a_vm())
    del seen.domains[HERE]
    seen.silent["Compute", HERE] = "nobody serves Compute"
    assert names(domains.records(seen)) == []


def test_what_a_job_is_at_work_on_is_not_judged() -> None:
    for job in (a_job(), a_job(state=JobState.UNWINDING), a_job(state=JobState.STUCK)):
        seen = evidence(a_vm(want=Want.STOPPED, maybe_on=(HERE, THERE)), job)
        seen.domains[THERE] = (FoundDomain(vm=VmId("vm"), power=Power.ON),)
        assert names(domains.records(seen)) == names(domains.strays(seen)) == []
        assert names(machines.transitions(seen)) == names(machines.doubts(seen)) == []


def test_what_changed_while_hosts_were_asked_is_not_judged() -> None:
    seen = evidence(a_vm())
    seen.rows.moved.add("vm")
    assert names(domains.records(seen)) == []


def test_the_parts_of_a_moving_machine_move_with_it() -> None:
    volume = Volume(
        id="v", name="ROOT", account=AccountId("a"), domain=DomainId("d"), zone=ZoneId("z"),
        vm=VmId("vm"), pool=POOL, ready=True,
    )  # fmt: skip
    assert names(disks.records(evidence(a_vm(), volume))) == ["volume-without-bytes"]
    assert names(disks.records(evidence(a_vm(), volume, a_job()))) == []


def test_a_running_guest_is_never_stopped_because_its_record_says_off() -> None:
    seen = evidence(a_vm(power=Power.OFF))
    seen.domains[HERE] = (FoundDomain(vm=VmId("vm"), power=Power.ON),)
    assert names(machines.transitions(seen)) == []
    assert [f.repair for f in domains.records(seen) if f.check == "machine-on"] == [None]


def test_capacity_held_at_a_silent_host_is_told_and_not_repaired() -> None:
    seen = evidence(a_vm(power=Power.OFF))
    del seen.domains[HERE]
    assert [f.repair for f in machines.transitions(seen)] == [None]


def test_the_only_running_copy_of_a_machine_is_left_to_people() -> None:
    seen = evidence(a_vm())
    running = (FoundDomain(vm=VmId("vm"), power=Power.ON),)
    seen.domains[THERE] = running
    [finding] = domains.strays(seen)
    assert (finding.check, finding.repair) == ("machine-elsewhere", None)
    seen.domains[HERE] = running
    [finding] = domains.strays(seen)
    assert (finding.check, finding.host) == ("machine-twice", THERE)
    assert finding.repair is not None


def test_only_the_first_in_line_can_be_unclaimed() -> None:
    first, second = a_job(created=1.0), a_job(id="later", created=2.0)
    found = list(jobs.owners(evidence(first, second)))
    assert [(f.check, f.id) for f in found] == [("job-unclaimed", "job")]
    held = evidence(first, second, Lock(id="vm:vm", job="job"))
    assert names(jobs.owners(held)) == []


def test_a_young_job_may_wait() -> None:
    assert names(jobs.owners(evidence(a_job(created=995.0)))) == []


def test_a_row_that_cannot_be_read_hides_no_other() -> None:
    held = Rows()
    good, bad = Row(id="vm", row=encoded(a_vm())), Row(id="bad", row=b'{"id":7}')
    assert set(held._decoded(Vm, [good, bad])) == {"vm"}
    assert list(held.unreadable) == [("vm", "bad")]


def test_an_ended_job_leaves_the_rows_and_marks_what_it_worked_on() -> None:
    held = Rows()
    held.of(Job)["job"] = a_job()
    held._apply("job", "job", encoded(a_job(state=JobState.DONE)))
    assert held.of(Job) == {}
    assert held.moved >= {"job", "vm"}


def test_an_empty_cloud_has_no_finding() -> None:
    assert judged(Evidence(Rows())) == []
    assert len(CHECKS) > 15
    assert Vm in KINDS
    assert VolumeId("v") not in evidence().moving
