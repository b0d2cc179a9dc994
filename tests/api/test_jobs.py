"""queryAsyncJobResult, listAsyncJobs, listEvents."""

from __future__ import annotations

from typing import Any

import pytest

from csnode.model.job import Job, JobState
from tests.api import seeds
from tests.api.conftest import ADMIN, ALICE, BOB, BOSS, Desk

NET = seeds.uuid(500)
VM = seeds.uuid(1_000_001)


@pytest.fixture
async def stopping(desk: Desk) -> tuple[Desk, str]:
    """A desk, and the job that stops alice's machine."""
    await desk.plant([*seeds.network(NET), *seeds.machine(1, NET)])
    return desk, (await desk.ask("stopVirtualMachine", ALICE, id=VM))["jobid"]


async def end(desk: Desk, job: str, state: JobState, **columns: Any) -> None:
    change = desk.store.change()
    change.update(Job, job, state=state, ended=200.0, **columns)
    await change.commit()


async def test_a_job_under_way_has_no_result(stopping: tuple[Desk, str]) -> None:
    desk, job = stopping
    found = await desk.ask("queryAsyncJobResult", ALICE, jobid=job)
    assert (found["jobstatus"], found["jobprocstatus"], found["jobresultcode"]) == (0, 0, 0)
    assert not {"jobresult", "jobresulttype", "completed"} & set(found)
    assert found["cmd"] == "org.apache.cloudstack.api.command.user.vm.StopVMCmd"
    assert (found["jobinstancetype"], found["jobinstanceid"]) == ("VirtualMachine", VM)
    assert (found["accountid"], found["userid"]) == (seeds.ALICE, ALICE.user)


async def test_a_job_that_is_done_shows_its_object(stopping: tuple[Desk, str]) -> None:
    desk, job = stopping
    await end(desk, job, JobState.DONE)
    found = await desk.ask("queryAsyncJobResult", ALICE, jobid=job)
    assert (found["jobstatus"], found["jobresulttype"]) == (1, "object")
    ((key, shown),) = found["jobresult"].items()
    assert (key, shown["id"], shown["nic"][0]["networkid"]) == ("virtualmachine", VM, NET)
    assert "jobid" not in shown
    assert "hostid" not in shown
    assert "hostid" in (await desk.ask("queryAsyncJobResult", ADMIN, jobid=job))["jobresult"][key]


async def test_a_job_that_failed_says_why(stopping: tuple[Desk, str]) -> None:
    desk, job = stopping
    await end(desk, job, JobState.FAILED, fault="h1 has no room", fault_code=533)
    found = await desk.ask("queryAsyncJobResult", ALICE, jobid=job)
    assert (found["jobstatus"], found["jobresultcode"]) == (2, 530)
    assert found["jobresult"] == {"errorcode": 533, "errortext": "h1 has no room"}


async def test_the_job_of_what_is_gone_still_shows_an_object(stopping: tuple[Desk, str]) -> None:
    """Go clients read the object under the one key, whatever became of it."""
    desk, job = stopping
    change = desk.store.change()
    change.items += await desk.with_parts(VM)
    await change.commit()
    await end(desk, job, JobState.DONE)
    found = await desk.ask("queryAsyncJobResult", ALICE, jobid=job)
    assert found["jobresult"] == {"virtualmachine": {"id": VM, "state": "Expunging"}}


async def test_a_job_without_an_object_to_show_says_success(desk: Desk) -> None:
    await desk.plant(seeds.network(NET))
    job = (await desk.ask("deleteNetwork", ALICE, id=NET))["jobid"]
    await end(desk, job, JobState.DONE)
    found = await desk.ask("queryAsyncJobResult", ALICE, jobid=job)
    assert found["jobresult"] == {"success": True}
    assert found["jobinstancetype"] == "Network"


async def test_a_job_can_be_asked_for_by_its_object(stopping: tuple[Desk, str]) -> None:
    desk, job = stopping
    found = await desk.ask("queryAsyncJobResult", ALICE, resourceid=VM,
                           resourcetype="virtualmachine")  # fmt: skip
    assert found["jobid"] == job


@pytest.mark.parametrize(
    ("by", "params", "code", "text"),
    [
        (ALICE, {"jobid": seeds.uuid(999)}, 431, "Invalid parameter jobid value="),
        (ALICE, {"jobid": "7"}, 431, "Invalid parameter jobid value=7"),
        (ALICE, {}, 431, "Either jobid, or resourceid and resourcetype must be given"),
        (BOB, {"jobid": "JOB"}, 531, "does not have permission"),
    ],
)
async def test_a_job_that_is_not_his_is_refused(
    stopping: tuple[Desk, str], by: Any, params: dict[str, str], code: int, text: str
) -> None:
    desk, job = stopping
    params = {name: job if value == "JOB" else value for name, value in params.items()}
    body = await desk.refused("queryAsyncJobResult", by, **params)
    assert (body["errorcode"], text in body["errortext"]) == (code, True), body["errortext"]


async def test_jobs_are_listed_newest_first(stopping: tuple[Desk, str]) -> None:
    desk, first = stopping
    second = (await desk.ask("startVirtualMachine", ALICE, id=VM))["jobid"]
    for by in (ALICE, BOSS, ADMIN):
        found = await desk.ask("listAsyncJobs", by, listall="true")
        assert [job["jobid"] for job in found["asyncjobs"]] == [second, first]
    assert await desk.ask("listAsyncJobs", BOB, listall="true") == {}
    found = await desk.ask("listAsyncJobs", ALICE, keyword="stop")
    assert [job["jobid"] for job in found["asyncjobs"]] == [first]
    page = await desk.ask("listAsyncJobs", ALICE, page="2", pagesize="1")
    assert ([job["jobid"] for job in page["asyncjobs"]], page["count"]) == ([first], 2)


async def test_events_tell_what_was_done(stopping: tuple[Desk, str]) -> None:
    desk, _ = stopping
    await desk.ask("updateVirtualMachine", ALICE, id=VM, group="shop")
    found = await desk.ask("listEvents", ALICE)
    seen = [(e["type"], e["state"], e["username"]) for e in found["event"]]
    assert seen == [("VM.UPDATE", "Completed", "alice"), ("VM.STOP", "Scheduled", "alice")]
    assert found["event"][0]["resourceid"] == VM
    by_object = await desk.ask("listEvents", ALICE, resourceid=VM, resourcetype="VirtualMachine",
                               type="VM.STOP")  # fmt: skip
    assert by_object["count"] == 1
    assert await desk.ask("listEvents", BOB) == {}
    assert await desk.ask("listEvents", ALICE, startdate="2099-01-01") == {}
    assert await desk.ask("listEvents", ALICE, enddate="2020-01-01 10:00:00") == {}
