"""So many jobs may wait for one object, and so many of one account; then orders are refused."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from typing import Any

import pytest

from csnode.api.backlog import Backlog, Crowded
from csnode.api.call import Caller
from csnode.bus.local import LocalBus
from csnode.bus.service import Method
from csnode.directory.alone import AloneDirectory
from csnode.model.job import Job, JobState, StepTime
from csnode.testing.loop import simulate
from csnode.types import JobId
from roles.api.config import ApiConfig
from roles.api.role import ApiRole
from tests.api import seeds
from tests.api.conftest import ADMIN, ALICE, BOB, Desk, opened_desk

NET = seeds.uuid(500)
VM, OTHER_VM = seeds.uuid(1_000_001), seeds.uuid(1_000_002)
BOTH = VM, OTHER_VM
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


async def end_jobs(desk: Desk) -> None:
    change = desk.store.change()
    for job in await desk.store.find(Job):
        if job.open:
            change.update(Job, job.id, state=JobState.DONE, ended=150.0)
    await change.commit()


class SlowBus(LocalBus):
    """Commits take their time, so two requests are under way at once."""

    async def send(self, method: Method, at: str | None, args: tuple[Any, ...]) -> Any:
        if method.name.endswith("commit"):
            await asyncio.sleep(1.0)
        return await super().send(method, at, args)


@asynccontextmanager
async def slow_desk() -> AsyncGenerator[Desk]:
    config = ApiConfig(listen="", jobs_per_object=MOST, jobs_per_account=MOST_IN_ALL)
    async with opened_desk(config, SlowBus(AloneDirectory())) as desk:
        await desk.plant([*seeds.network(NET), *seeds.machine(1, NET), *seeds.machine(2, NET)])
        yield desk


def test_an_order_that_is_asked_for_twice_at_once_takes_one_place() -> None:
    asked = {"command": "rebootVirtualMachine", "id": VM, "response": "json"}

    async def story() -> None:
        async with slow_desk() as desk:
            for key in range(MOST):
                some = MOST - 1 - key % 2
                assert await reboots(desk, some) == [200] * some
                first, second = await asyncio.gather(
                    *(desk.api.answer(asked, caller=ALICE, key=f"k{key}") for _ in range(2))
                )
                assert (first.status, second.status) == (200, 200)
                assert first.body == second.body
                await end_jobs(desk)
            assert sorted(await reboots(desk, MOST + 1)) == [200] * MOST + [535]

    simulate(story())


def test_one_job_id_for_two_objects_takes_the_place_of_the_one_that_has_it() -> None:
    async def story() -> None:
        async with slow_desk() as desk:
            for n in range(8):
                twice = {"customjobid": seeds.uuid(78 + n), "response": "json"}
                asked = (desk.reply("stopVirtualMachine", ADMIN, id=id, **twice) for id in BOTH)
                codes = [reply.status for reply in await asyncio.gather(*asked)]
                assert sorted(codes) == [200, 536]
                has = BOTH[codes.index(200)]
                assert (await reboots(desk, MOST, id=has)).count(200) == MOST - 1
                await end_jobs(desk)
                for id in BOTH:
                    assert (await reboots(desk, MOST + 1, id=id)).count(200) == MOST
                    await end_jobs(desk)

    simulate(story())


async def test_the_place_of_a_job_is_kept_until_the_last_that_ordered_it_gives_up(
    desk: Desk,
) -> None:
    backlog = Backlog(desk.api.view, 1, -1)
    job, other = (
        Job(verb="stop", order={}, object_kind="vm", object_id=VM, account=ALICE.account,
            user=ALICE.user, id=JobId(seeds.uuid(n)))
        for n in (80, 81)
    )  # fmt: skip
    backlog.admit(job)
    backlog.admit(job)
    backlog.withdraw(job)
    with pytest.raises(Crowded):
        backlog.admit(other)
    backlog.withdraw(job)
    backlog.admit(other)
