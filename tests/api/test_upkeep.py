"""What the api does for itself: history and sessions are bounded; it works without events, and
says what is away when the data service is."""

from __future__ import annotations

import asyncio
from typing import Any

import msgspec
import pytest

from csnode.bus.event import Event
from csnode.bus.local import LocalBus
from csnode.bus.service import Method
from csnode.clock import now, wall
from csnode.contracts.data import ChangeItem, Commit
from csnode.directory.alone import AloneDirectory
from csnode.faults import Unavailable
from csnode.model.event import UserEvent
from csnode.model.identity import Session
from csnode.model.vm import Vm
from csnode.testing.loop import simulate
from roles.api.config import ApiConfig
from tests.api import seeds
from tests.api.conftest import ADMIN, ALICE, Desk, opened_desk

NET = seeds.uuid(500)
SMALL: dict[str, str] = {
    "zoneid": seeds.ZONE,
    "serviceofferingid": seeds.SMALL,
    "templateid": seeds.IMAGE,
}
DAY = 86400.0


def event(number: int, age: float) -> UserEvent:
    return UserEvent(id=seeds.uuid(8000 + number), type="VM.START", description="x",
                     account=seeds.ALICE, domain=seeds.ACME, created=wall() - age)  # fmt: skip


async def left(desk: Desk) -> list[str]:
    return sorted(e.id[-2:] for e in await desk.store.find(UserEvent))


async def test_history_older_than_the_bound_goes() -> None:
    async with opened_desk(ApiConfig(listen="", event_keep_days=30)) as desk:
        await desk.plant([event(1, 31 * DAY), event(2, 29 * DAY), event(3, 0), event(4, 400 * DAY)])
        await desk.api.door.view.fresh()
        await desk.api.forget_events()
        assert await left(desk) == ["02", "03"]
        assert (await desk.ask("listEvents", ALICE))["count"] == 2


async def test_of_too_much_history_the_oldest_goes() -> None:
    async with opened_desk(ApiConfig(listen="", event_keep_days=0, events_max=300)) as desk:
        await desk.plant([event(n, (1000 - n) * DAY) for n in range(600, 1000)])
        await desk.api.door.view.fresh()
        await desk.api.forget_events()
        kept = await desk.store.find(UserEvent)
        assert {e.id for e in kept} == {event(n, 0).id for n in range(700, 1000)}
        await desk.api.forget_events()
        assert len(await desk.store.find(UserEvent)) == 300


async def test_a_busy_hour_leaves_no_more_history_than_a_little_over_the_bound() -> None:
    async with opened_desk(ApiConfig(listen="", event_keep_days=0, events_max=100)) as desk:
        for more, left_then in ((range(110), 110), (range(110, 120), 100)):
            await desk.plant([event(n, 0) for n in more])
            await desk.api.door.view.fresh()
            await desk.api.bound_events()
            assert len(await desk.store.find(UserEvent)) == left_then


async def test_two_apis_may_sweep_at_once() -> None:
    async with opened_desk(ApiConfig(listen="", event_keep_days=1)) as desk:
        await desk.plant([event(n, 9 * DAY) for n in range(500)])
        await desk.api.door.view.fresh()
        await asyncio.gather(desk.api.forget_events(), desk.api.forget_events())
        assert await left(desk) == []


async def test_a_user_has_so_many_sessions_and_no_more() -> None:
    login = {"command": "login", "username": "alice", "password": seeds.PASSWORD,
             "domain": "acme", "response": "json"}  # fmt: skip
    async with opened_desk(ApiConfig(listen="", sessions_max=3)) as desk:
        jars: list[dict[str, str]] = []
        for _ in range(5):
            reply = await desk.api.answer(login)
            cookies = [v for k, v in reply.headers if k == "Set-Cookie"]
            jars.append(dict(c.partition(";")[0].split("=", 1) for c in cookies))
        assert len(await desk.store.find(Session)) == 3
        asked = {"command": "listZones", "response": "json"}
        statuses = [(await desk.api.answer(asked, cookies=jar)).status for jar in jars]
        assert statuses == [401, 401, 200, 200, 200]


class DeafBus(LocalBus):
    """No event arrives, ever."""

    def publish(self, event: Event) -> None:
        pass


def test_without_events_every_answer_is_as_fresh() -> None:
    """Slower, not staler: the view asks the feed."""

    async def story() -> float:
        async with opened_desk(ApiConfig(listen=""), DeafBus(AloneDirectory())) as desk:
            began = now()
            for n in range(5):
                made = await desk.ask("deployVirtualMachine", ALICE, **SMALL, displayname=f"m{n}")
                assert await desk.ask("deployVirtualMachine", ADMIN, **SMALL)
                shown = await desk.ask("listVirtualMachines", ALICE, id=made["id"])
                assert shown["virtualmachine"][0]["displayname"] == f"m{n}"
                queue = await desk.ask("listJobQueue", ALICE, resourceid=made["id"])
                assert queue["queuedjob"][0]["jobid"] == made["jobid"]
                await desk.ask("cancelAsyncJob", ALICE, jobid=made["jobid"])
            assert len(await desk.store.find(Vm)) == 10
            return now() - began

    assert simulate(story()) < 30


class CutBus(LocalBus):
    """The data service can be taken away: before it hears a commit, or after."""

    away = ""

    async def send(self, method: Method, at: str | None, args: tuple[Any, ...]) -> Any:
        if self.away == "all":
            raise Unavailable("nobody serves Data")
        answer = await super().send(method, at, args)
        if self.away == "answers" and method.name.endswith("commit"):
            raise Unavailable("Data.commit did not answer within 5 s")
        return answer


@pytest.mark.parametrize("by", [None, ALICE, ADMIN])
async def test_an_outage_of_the_data_service_is_told_as_what_it_is(by: Any) -> None:
    bus = CutBus(AloneDirectory())
    async with opened_desk(ApiConfig(listen="", patience_seconds=0.5), bus) as desk:
        bus.away = "all"
        body = await desk.refused("deployVirtualMachine", by, **SMALL)
        bus.away = ""
        assert body["errorcode"] == 534
        assert body["errortext"].startswith("The data service (role data) cannot be reached")
        assert "nobody serves" not in body["errortext"]


async def test_an_answer_that_was_lost_is_told_and_a_key_finds_it() -> None:
    bus = CutBus(AloneDirectory())
    async with opened_desk(ApiConfig(listen="", patience_seconds=0.5), bus) as desk:
        bus.away = "answers"
        body = await desk.refused("deployVirtualMachine", ALICE, **SMALL)
        assert body["errorcode"] == 534
        assert "it may have been done or not" in body["errortext"]
        asked = {"command": "deployVirtualMachine", "response": "json", **SMALL}
        replies = [await desk.api.answer(asked, caller=ALICE, key="k") for _ in range(2)]
        bus.away = ""
        assert [reply.status for reply in replies] == [200, 200]
        assert msgspec.json.decode(replies[0].body) == msgspec.json.decode(replies[1].body)
        assert len(await desk.store.find(Vm)) == 2


class HastyBus(LocalBus):
    """Somebody expunges a machine in the very moment in which it was changed."""

    expunges: tuple[ChangeItem, ...] = ()

    async def send(self, method: Method, at: str | None, args: tuple[Any, ...]) -> Any:
        answer = await super().send(method, at, args)
        if self.expunges and method.name.endswith("commit"):
            gone, self.expunges = self.expunges, ()
            await super().send(method, at, (Commit(changes=gone, by="orchestrator@o"),))
        return answer


async def test_a_change_of_what_has_gone_since_is_not_told_as_refused() -> None:
    """It was made, and others may have seen it."""
    bus = HastyBus(AloneDirectory())
    async with opened_desk(ApiConfig(listen=""), bus) as desk:
        await desk.plant([*seeds.network(NET), *seeds.machine(1, NET)])
        vm = seeds.uuid(1_000_001)
        bus.expunges = tuple(await desk.with_parts(vm))
        answer = await desk.ask("updateVirtualMachine", ALICE, id=vm, displayname="other")
        assert answer["virtualmachine"] == {"id": vm}
        assert await desk.store.find(Vm) == []
