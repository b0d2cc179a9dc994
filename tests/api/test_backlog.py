"""So many jobs may wait for one object, and so many of one account; then orders are refused."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager

import pytest

from csnode.api.call import Caller
from csnode.model.job import Job, JobState, StepTime
from roles.api.config import ApiConfig
from roles.api.role import ApiRole
from tests.api import seeds
from tests.api.conftest import ADMIN, ALICE, BOB, Desk, opened_desk

NET = seeds.uuid(500)
VM, OTHER_VM = seeds.uuid(1_000_001), seeds.uuid(1_000_002)
MOST, MOST_IN_ALL = 5, 8


@pytest.fixture
async def desk() -> AsyncGenerator[Desk]:
    """Machines of alice's; nobody is there who would do what is ordered."""
    config = ApiConfig(listen="", jobs_per_object=MOST, jobs_per_account=MOST_IN_ALL)
    async with opened_desk(config) as desk:
        await desk.plant([*seeds.network(NET), *seeds.machine(1, NET), *seeds.machine(2, NET)])
        yield desk


async def reboots(desk: Desk, count: int, by: Caller = ALICE, id: str = VM) -> list[int]:
    """The answers' codes, of so many requests at once."""
    asked = (desk.reply("rebootVirtualMachine", by, id=id, response="json") for _ in range(count))
    return [reply.status for reply in await asyncio.gather(*asked)]


async def test_an_order_too_many_is_refused_and_says_when_to_try_again(desk: Desk) -> None:
    assert await reboots(desk, MOST) == [200] * MOST
    reply = await desk.reply("rebootVirtualMachine", ALICE, id=VM, response="json")
    assert (reply.status, dict(reply.headers)["Retry-After"]) == (535, "1")
    body = await desk.refused("rebootVirtualMachine", ALICE, id=VM)
    assert (body["errorcode"], body["cserrorcode"]) == (535, 4370)
    assert body["errortext"] == (
        f"vm {VM} has {MOST} jobs that have not ended, and may have {MOST}. "
        "Nothing was ordered; try again in 1 s"
    )
    assert len(await desk.store.find(Job)) == MOST


async def test_of_many_orders_at_once_as_many_are_accepted_as_may_wait(desk: Desk) -> None:
    codes = await reboots(desk, 40)
    assert sorted(codes) == [200] * MOST + [535] * (40 - MOST)
    assert len(await desk.store.find(Job)) == MOST


async def test_an_account_has_so_many_jobs_at_all_its_objects(desk: Desk) -> None:
    await reboots(desk, MOST)
    codes = await reboots(desk, MOST, id=OTHER_VM)
    assert codes.count(200) == MOST_IN_ALL - MOST
    body = await desk.refused("rebootVirtualMachine", ALICE, id=OTHER_VM)
    assert f"account alice has {MOST_IN_ALL} jobs that have not ended" in body["errortext"]


async def test_the_jobs_of_one_account_cost_another_none(desk: Desk) -> None:
    await reboots(desk, MOST)
    await reboots(desk, MOST, id=OTHER_VM)
    await desk.plant(seeds.machine(3, NET, account=seeds.BOB, domain=seeds.OTHER))
    assert await reboots(desk, MOST, BOB, seeds.uuid(1_000_003)) == [200] * MOST
    lists = await desk.ask("listVirtualMachines", ALICE)
    assert lists["count"] == 2, "what changes nothing is never refused for it"


async def test_the_end_of_a_job_makes_room_for_one(desk: Desk) -> None:
    await reboots(desk, MOST)
    (job, *_) = await desk.store.find(Job)
    took = StepTime(id="power", began=100.0, ended=150.0)
    change = desk.store.change()
    change.update(Job, job.id, state=JobState.DONE, times=(took,), ended=150.0)
    await change.commit()
    reply = await desk.reply("rebootVirtualMachine", ALICE, id=VM)
    assert reply.status == 200
    reply = await desk.reply("rebootVirtualMachine", ALICE, id=VM)
    assert dict(reply.headers)["Retry-After"] == "11", "jobs take longer, of late"


async def test_an_order_that_was_refused_at_its_commit_takes_no_place(desk: Desk) -> None:
    twice = {"id": VM, "customjobid": seeds.uuid(78)}
    assert (await desk.reply("rebootVirtualMachine", ADMIN, **twice)).status == 200
    for _ in range(MOST):
        body = await desk.refused("stopVirtualMachine", ADMIN, **twice)
        assert "is the id of another job" in body["errortext"]
    bad = {**twice, "customjobid": seeds.ALICE}  # a row of another kind has that id
    for _ in range(MOST):
        await desk.refused("stopVirtualMachine", ADMIN, **bad)
    assert await reboots(desk, MOST) == [200] * (MOST - 1) + [535]


async def test_without_bounds_nothing_is_refused() -> None:
    config = ApiConfig(listen="", jobs_per_object=-1, jobs_per_account=-1)
    async with opened_desk(config) as desk:
        await desk.plant([*seeds.network(NET), *seeds.machine(1, NET)])
        assert await reboots(desk, 50) == [200] * 50


async def test_what_waited_before_the_api_began_counts(desk: Desk) -> None:
    await reboots(desk, MOST)
    api = ApiRole(desk.api.config, desk.api.node, desk.api.bus, desk.api.store)
    async with asynccontextmanager(api.opened)():
        after = Desk(api, desk.store)
        assert await reboots(after, 2) == [535, 535]
        assert await reboots(after, 2, ADMIN) == [535, 535], "an object's bound holds for all"
