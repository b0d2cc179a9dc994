"""cancelAsyncJob, listJobQueue, listJobSteps; and `csnode job`, which shows the same."""

from __future__ import annotations

from typing import Any

import pytest

from csnode.api.about import Rank
from csnode.api.catalog import entries, markdown
from csnode.api.progress import Lines, steps_of
from csnode.cli import job as cli
from csnode.faults import Invalid
from csnode.model.event import UserEvent
from csnode.model.job import Cancel, Job, JobState, StepTime
from csnode.model.stock import Lock
from tests.api import seeds
from tests.api.conftest import ADMIN, ALICE, BOB, BOSS, LAB, Desk

NET = seeds.uuid(500)
VM, OTHER_VM = seeds.uuid(1_000_001), seeds.uuid(1_000_002)


def job(number: int, **columns: Any) -> Job:
    """Alice's job on her machine."""
    plain: dict[str, Any] = {
        "id": seeds.uuid(7000 + number), "verb": "stop_vm", "order": {"vm": VM},
        "needs": (f"vm:{VM}",), "command": "stopVirtualMachine", "object_kind": "vm",
        "object_id": VM, "account": seeds.ALICE, "user": ALICE.user, "created": 1000.0 + number,
    }  # fmt: skip
    return Job(**plain | columns)


@pytest.fixture
async def stopping(desk: Desk) -> tuple[Desk, str]:
    """A desk, and the job that stops alice's machine."""
    await desk.plant([*seeds.network(NET), *seeds.machine(1, NET), *seeds.machine(2, NET)])
    return desk, (await desk.ask("stopVirtualMachine", ALICE, id=VM))["jobid"]


# -- cancelling -------------------------------------------------------------------------------


@pytest.mark.parametrize("by", [ALICE, BOSS, ADMIN])
async def test_a_job_is_cancelled_by_whom_it_concerns(stopping: tuple[Desk, str], by: Any) -> None:
    desk, id = stopping
    assert await desk.ask("cancelAsyncJob", by, jobid=id) == {"success": True}
    (cancel,) = await desk.store.find(Cancel)
    names = {ALICE.user: "alice", BOSS.user: "boss", ADMIN.user: "admin"}
    assert (cancel.id, cancel.by) == (id, names[by.user])
    assert cancel.created > 0
    (event,) = [e for e in await desk.store.find(UserEvent) if e.type == "JOB.CANCEL"]
    assert (event.object_id, event.account, event.user) == (id, seeds.ALICE, by.user)
    assert id in event.description


async def test_to_cancel_twice_is_harmless(stopping: tuple[Desk, str]) -> None:
    desk, id = stopping
    for _ in range(2):
        assert await desk.ask("cancelAsyncJob", ALICE, jobid=id) == {"success": True}
    assert [cancel.by for cancel in await desk.store.find(Cancel)] == ["alice"]


async def test_a_job_that_is_being_undone_needs_no_cancel(stopping: tuple[Desk, str]) -> None:
    desk, id = stopping
    await desk.store.observe(Job, id, state=JobState.UNWINDING)
    assert await desk.ask("cancelAsyncJob", ALICE, jobid=id) == {"success": True}
    assert await desk.store.find(Cancel) == []


@pytest.mark.parametrize("state", [JobState.DONE, JobState.FAILED, JobState.STUCK])
async def test_a_job_that_has_ended_cannot_be_cancelled(
    stopping: tuple[Desk, str], state: JobState
) -> None:
    desk, id = stopping
    await desk.store.observe(Job, id, state=state, fault="no room", ended=9.0)
    body = await desk.refused("cancelAsyncJob", ALICE, jobid=id)
    assert body["errorcode"] == 431
    assert ("stuck" if state is JobState.STUCK else "has ended already") in body["errortext"]
    assert await desk.store.find(Cancel) == []


@pytest.mark.parametrize("command", ["cancelAsyncJob", "listJobSteps"])
async def test_a_foreign_job_is_as_good_as_none(stopping: tuple[Desk, str], command: str) -> None:
    desk, id = stopping
    await desk.plant([job(1, account=None, user=None)])
    for by, foreign in [(BOB, id), (LAB, id), (ALICE, job(1).id), (BOSS, job(1).id)]:
        bodies = [await desk.refused(command, by, jobid=j) for j in (foreign, seeds.uuid(999))]
        texts = [b["errortext"].replace(foreign, "ID").replace(seeds.uuid(999), "ID")
                 for b in bodies]  # fmt: skip
        assert texts[0] == texts[1]
        assert bodies[0]["errorcode"] == 431
    assert await desk.store.find(Cancel) == []
    assert await desk.ask(command, ADMIN, jobid=job(1).id) in ({"success": True}, {})


# -- the queue --------------------------------------------------------------------------------


async def test_a_queue_is_in_the_order_of_service(stopping: tuple[Desk, str]) -> None:
    desk, id = stopping
    await desk.store.observe(Job, id, state=JobState.RUNNING, owner="o1@n1", started=("power",))
    second = (await desk.ask("startVirtualMachine", ADMIN, id=VM))["jobid"]
    third = (await desk.ask("rebootVirtualMachine", ALICE, id=VM))["jobid"]
    await desk.ask("stopVirtualMachine", ALICE, id=OTHER_VM)
    await desk.ask("cancelAsyncJob", ALICE, jobid=third)
    found = await desk.ask("listJobQueue", ADMIN, resourceid=VM, resourcetype="VirtualMachine")
    rows = found["queuedjob"]
    assert found["count"] == 3
    assert [(r["position"], r["jobid"], r["state"], r["cancelled"]) for r in rows] == [
        (0, id, "running", False), (1, second, "waiting", False), (2, third, "waiting", True),
    ]  # fmt: skip
    assert [r["account"] for r in rows] == ["alice", "admin", "alice"]
    assert [r.get("owner") for r in rows] == ["o1@n1", None, None]
    assert "waitsfor" not in rows[0]
    assert rows[1]["waitsfor"] == f"vm:{VM}, where job {id} is first"
    assert rows[0]["cmd"] == "org.apache.cloudstack.api.command.user.vm.StopVMCmd"
    assert rows[0]["created"]
    assert found == await desk.ask("listJobQueue", ADMIN, resourceid=VM)


async def test_of_somebody_elses_job_only_its_place_is_shown(stopping: tuple[Desk, str]) -> None:
    desk, _ = stopping
    await desk.ask("startVirtualMachine", ADMIN, id=VM)
    mine, others = (await desk.ask("listJobQueue", ALICE, resourceid=VM))["queuedjob"]
    assert (mine["position"], mine["account"]) == (0, "alice")
    assert "owner" not in mine
    assert set(others) == {"position", "cmd", "state", "cancelled", "created"}
    assert others["position"] == 1


async def test_a_job_that_nobody_has_claimed_waits_for_an_orchestrator(
    stopping: tuple[Desk, str],
) -> None:
    desk, _ = stopping
    (row,) = (await desk.ask("listJobQueue", ALICE, resourceid=VM))["queuedjob"]
    assert row["waitsfor"] == "an orchestrator"


async def test_a_stuck_job_keeps_the_first_place(stopping: tuple[Desk, str]) -> None:
    desk, id = stopping
    await desk.store.observe(Job, id, state=JobState.STUCK, fault="no way back", ended=9.0)
    await desk.plant([Lock(id=f"vm:{VM}", job=id)])
    await desk.ask("destroyVirtualMachine", ALICE, id=VM)
    rows = (await desk.ask("listJobQueue", ALICE, resourceid=VM))["queuedjob"]
    assert [(r["position"], r["state"]) for r in rows] == [(0, "stuck"), (1, "waiting")]


async def test_an_idle_object_has_no_queue(stopping: tuple[Desk, str]) -> None:
    desk, id = stopping
    await desk.store.observe(Job, id, state=JobState.DONE, ended=9.0)
    assert await desk.ask("listJobQueue", ALICE, resourceid=VM) == {}


@pytest.mark.parametrize(
    ("by", "params"),
    [
        (BOB, {"resourceid": VM}),
        (ALICE, {"resourceid": seeds.uuid(999)}),
        (ALICE, {"resourceid": VM, "resourcetype": "Network"}),
        (ALICE, {"resourceid": VM, "resourcetype": "moon"}),
    ],
)
async def test_the_queue_of_a_foreign_object_is_refused(
    stopping: tuple[Desk, str], by: Any, params: dict[str, str]
) -> None:
    desk, _ = stopping
    body = await desk.refused("listJobQueue", by, **params)
    assert body["errorcode"] == 431
    assert "Invalid parameter resourceid value=" in body["errortext"]


async def test_a_queue_outlives_its_object(desk: Desk) -> None:
    """And that of a kind from somebody else's package is known by its jobs alone."""
    await desk.plant([job(1), job(2, needs=("balloon:7",), object_kind="balloon", object_id="7")])
    assert (await desk.ask("listJobQueue", ALICE, resourceid=VM))["count"] == 1
    found = await desk.ask("listJobQueue", ALICE, resourceid="7", resourcetype="balloon")
    assert found["queuedjob"][0]["jobid"] == job(2).id
    await desk.refused("listJobQueue", BOB, resourceid="7")


def test_a_job_may_wait_at_several_objects() -> None:
    first, second = job(1, needs=("vm:a",)), job(2, needs=("vm:b",))
    both = job(3, needs=("vm:a", "vm:b", "vm:c"))
    ended = job(0, needs=("vm:a",), state=JobState.DONE)
    lines = Lines([both, second, first, ended])
    assert [(a.need, a.job) for a in lines.behind(both)] == [
        ("vm:a", first.id),
        ("vm:b", second.id),
    ]
    assert [place.job.id for place in lines.at("vm:a")] == [first.id, both.id]
    assert lines.at("vm:none") == []


# -- steps ------------------------------------------------------------------------------------

DISKS = StepTime(id="disks", began=1000.0, ended=1001.5, tries=2)
POWER = StepTime(id="power", began=1001.5)


@pytest.mark.parametrize(
    ("columns", "states"),
    [
        ({}, []),
        ({"state": "running", "started": ("disks",)}, ["running"]),
        ({"state": "running", "started": ("disks", "power"), "results": {"disks": []},
          "times": (DISKS,)}, ["done", "running"]),
        ({"state": "running", "started": ("disks", "power"), "results": {"disks": []},
          "times": (DISKS, POWER)}, ["done", "running"]),
        ({"state": "unwinding", "started": ("disks", "power"), "results": {"disks": []},
          "times": (DISKS, POWER)}, ["done", "undoing"]),
        ({"state": "unwinding", "started": ("disks",), "results": {"disks": []},
          "times": (DISKS, POWER)}, ["undoing", "undone"]),
        ({"state": "failed", "times": (DISKS, POWER)}, ["undone", "undone"]),
        ({"state": "stuck", "started": ("disks",), "results": {"disks": []},
          "times": (DISKS, POWER)}, ["stuck", "undone"]),
        ({"state": "done", "started": ("disks", "power"), "results": {"disks": [], "power": "on"},
          "times": (DISKS, POWER)}, ["done", "done"]),
    ],
)  # fmt: skip
async def test_steps_are_shown_as_the_record_has_them(
    desk: Desk, columns: dict[str, Any], states: list[str]
) -> None:
    state = JobState(columns.pop("state", "waiting"))
    await desk.plant([job(1, state=state, **columns)])
    found = await desk.ask("listJobSteps", ALICE, jobid=job(1).id)
    rows = found.get("jobstep", [])
    assert [row["state"] for row in rows] == states
    assert [row["name"] for row in rows] == ["disks", "power"][: len(states)]
    if len(rows) == 2:
        assert (rows[0]["duration"], rows[0]["tries"]) == (1500, 2)
        assert rows[0]["began"] == "1970-01-01T00:16:40+0000"
        assert rows[1]["began"] == "1970-01-01T00:16:41+0000"
        assert "ended" not in rows[1]


def test_a_step_whose_time_is_not_known_began_when_the_last_one_ended() -> None:
    steps = steps_of(job(1, state=JobState.RUNNING, started=("disks", "power"),
                         results={"disks": []}, times=(DISKS,)))  # fmt: skip
    assert (steps[1].began, steps[1].ended) == (1001.5, 0.0)


def test_they_are_in_the_catalogue() -> None:
    found = {entry["name"]: entry for entry in entries(Rank.USER)}
    for name in ("cancelAsyncJob", "listJobQueue", "listJobSteps"):
        entry = found[name]
        assert entry["isasync"] is False
        assert "csnode only" in entry["description"]
        assert all(part["description"] for part in [*entry["params"], *entry["response"]])
        assert f"## {name}\n" in markdown()


# -- csnode job -------------------------------------------------------------------------------


async def test_an_operator_sees_what_is_open_and_what_is_stuck(stopping: tuple[Desk, str]) -> None:
    desk, id = stopping
    await desk.plant([
        job(1, state=JobState.RUNNING, started=("disks",), times=(DISKS,), needs=()),
        job(2, state=JobState.STUCK, fault="no way back", ended=9.0),
        job(3, state=JobState.DONE, ended=9.0),
        job(4, created=4e9),
    ])  # fmt: skip
    rows = {row["job"]: row for row in await cli.listed(desk.store)}
    assert list(rows) == [job(1).id, job(2).id, id, job(4).id]
    assert rows[job(1).id]["at"] == "disks, try 2"
    assert rows[job(2).id]["at"] == "no way back"
    assert rows[id]["at"] == "waits to be claimed"
    assert rows[job(4).id]["at"] == f"waits for job {id}"
    assert rows[id]["account"] == "alice"
    assert job(3).id in {row["job"] for row in await cli.listed(desk.store, whole=True)}


async def test_an_operator_sees_one_job_whole(stopping: tuple[Desk, str]) -> None:
    desk, id = stopping
    await desk.store.observe(Job, id, state=JobState.RUNNING, owner="o1@n1", times=(DISKS,),
                             started=("disks", "power"), results={"disks": []})  # fmt: skip
    found = await cli.described(desk.store, id)
    assert (found["state"], found["owner"], found["object"]) == ("running", "o1@n1", f"vm:{VM}")
    assert [(s["step"], s["state"], s["took"]) for s in found["steps"]] == [
        ("disks", "done", "1.5 s"), ("power", "running", "")]  # fmt: skip
    assert found == await cli.described(desk.store, id[:8])


async def test_an_operator_cancels_a_job(stopping: tuple[Desk, str]) -> None:
    desk, id = stopping
    assert "is cancelled" in (await cli.cancelled(desk.store, id))["said"]
    assert [(c.id, c.by) for c in await desk.store.find(Cancel)] == [(id, "an operator")]
    assert "already" in (await cli.cancelled(desk.store, id[:9]))["said"]
    assert (await cli.described(desk.store, id))["cancelled"].startswith("by an operator at ")
    assert (await cli.listed(desk.store))[0]["state"] == "waiting, cancelled"
    await desk.store.observe(Job, id, state=JobState.DONE, ended=9.0)
    with pytest.raises(Invalid, match="has ended already: it is done"):
        await cli.cancelled(desk.store, id)


async def test_an_operator_sees_who_waits(stopping: tuple[Desk, str]) -> None:
    desk, id = stopping
    await desk.store.observe(Job, id, state=JobState.STUCK, ended=9.0)
    await desk.plant([Lock(id=f"vm:{VM}", job=id), job(4, created=4e9)])
    rows = await cli.queued(desk.store, VM)
    assert [(r["position"], r["job"], r["state"]) for r in rows] == [
        (0, id, "stuck"), (1, job(4).id, "waiting")]  # fmt: skip
    assert rows == await cli.queued(desk.store, f"vm:{VM}")
    assert await cli.queued(desk.store, OTHER_VM) == []


@pytest.mark.parametrize("name", ["", "0000", seeds.uuid(999)])
async def test_a_job_must_be_named_so_that_there_is_one(
    stopping: tuple[Desk, str], name: str
) -> None:
    desk, _ = stopping
    await desk.plant([job(1), job(2)])
    with pytest.raises(Invalid):
        await cli.described(desk.store, name)


@pytest.mark.parametrize(
    ("seconds", "said"),
    [(-1, "0 ms"), (0.0123, "12 ms"), (3.44, "3.4 s"), (300, "5 min"), (7300, "2 h"),
     (3e5, "3 d")],
)  # fmt: skip
def test_times_are_said_as_people_say_them(seconds: float, said: str) -> None:
    assert cli._lasted(seconds) == said
