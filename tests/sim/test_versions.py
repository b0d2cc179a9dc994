"""Processes of two versions in one cloud, and a data service that is away for a moment."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from csnode.contracts.data import Commit, Committed
from csnode.data.view import View
from csnode.directory.directory import Member, Serving
from csnode.faults import Conflict, Unavailable
from csnode.model.host import Host, Retired
from csnode.model.place import Zone
from csnode.saga.saga import Step
from csnode.testing.cloud import SimCloud
from csnode.types import NodeId
from tests.sim.conftest import World
from tests.sim.world import prepared


def older_data() -> Member:
    """A data service of the version before, as it announces itself."""
    return Member(
        node=NodeId("old/data"), cluster="csnode", incarnation=1, number=1, host="old",
        roles=("data",), serves=(Serving(contract="Data"),), calls="", events="", wire=1,
    )  # fmt: skip


def kinds_of(cloud: SimCloud) -> dict[str, Any]:
    """What the data role knows; its own to change, as every start in a process shares the table."""
    stored = cloud.role("data").stored
    stored._kinds = dict(stored._kinds)
    return stored._kinds


def test_a_view_serves_beside_a_data_service_that_does_not_know_all_its_kinds(
    world: World,
) -> None:
    async def story(cloud: SimCloud) -> None:
        view, kinds = cloud.role("api").view, kinds_of(cloud)
        store, unknown = cloud.store.acting_as("api"), kinds.pop(Retired.kind)
        zone = (await cloud.call("listZones"))["zone"][0]
        change = store.change()
        change.update(Zone, zone["id"], name="renamed")
        await change.commit()
        assert (await cloud.call("listZones"))["zone"][0]["name"] == "renamed"
        kinds[Retired.kind] = unknown  # it is of our version now
        change = store.change()
        change.create(Retired(id="h", name="gone"))
        await change.commit()
        await view.fresh()
        assert view.get(Retired, "h").name == "gone"

    world(story)


def test_a_view_opens_beside_a_data_service_that_does_not_know_all_its_kinds(
    world: World,
) -> None:
    async def story(cloud: SimCloud) -> None:
        kinds_of(cloud).pop(Retired.kind)
        view = View(cloud.store, (Host, Retired))
        await view.open()
        assert view.size(Host) == 3
        assert view.size(Retired) == 0
        view.close()

    world(story)


def test_columns_that_the_lowest_data_service_does_not_know_are_not_written(world: World) -> None:
    async def story(cloud: SimCloud) -> None:
        host = (await cloud.store.find(Host))[0]
        store = cloud.store.acting_as("monitor")
        await store.observe(Host, host.id, why="before")
        cloud.node.bus.directory.announce(older_data())
        await store.observe(Host, host.id, why="meanwhile", cpus=99)
        found = await cloud.store.get(Host, host.id)
        assert (found.why, found.cpus) == ("before", 99)
        with pytest.raises(Conflict, match="every data service"):
            cloud.store.change().update(Host, host.id, maintenance="on")

    world(story)


def test_a_commit_waits_for_a_data_service_that_is_away(world: World) -> None:
    async def story(cloud: SimCloud) -> None:
        data, bus = cloud.role("data"), cloud.node.bus
        bus.retire(data)
        asking = asyncio.create_task(cloud.ask("createZone", **NEW_ZONE))
        await asyncio.sleep(2.0)
        assert not asking.done()
        bus.serve(data)
        status, answer = await asking
        assert status == 200, answer

    world(story)


def test_a_commit_whose_answer_was_lost_is_asked_again_and_happens_once(world: World) -> None:
    async def story(cloud: SimCloud) -> None:
        data = cloud.role("data")
        takes, losses = data.commit, iter([True, True])

        async def forgetful(commit: Commit) -> Committed:
            done = await takes(commit)
            if commit.by.startswith("api") and next(losses, False):
                raise Unavailable("the connection was lost")
            return done

        data.commit = forgetful
        assert (await cloud.ask("createZone", **NEW_ZONE))[0] == 200
        assert next(losses, None) is None  # the answer was lost
        zones: list[Any] = (await cloud.call("listZones"))["zone"]
        assert sum(zone["name"] == NEW_ZONE["name"] for zone in zones) == 1

    world(story)


def test_a_request_does_not_wait_for_ever(world: World) -> None:
    async def story(cloud: SimCloud) -> None:
        data, bus = cloud.role("data"), cloud.node.bus
        bus.retire(data)
        status, answer = await cloud.ask("listZones")
        assert status == 534
        assert "Nothing was changed" in answer["errortext"]
        bus.serve(data)

    world(story)


NEW_ZONE = {"name": "another", "dns1": "198.51.100.53", "internaldns1": "198.51.100.53",
            "networktype": "Advanced"}  # fmt: skip


def test_a_job_that_is_done_stays_done_if_the_data_service_is_away_at_its_end(
    world: World,
) -> None:
    async def story(cloud: SimCloud) -> None:
        ready = await prepared(cloud)
        data, bus = cloud.role("data"), cloud.node.bus
        away: list[asyncio.TimerHandle] = []

        async def leave_at_the_end(moment: str, step: Step[Any]) -> None:
            if (moment, step.name) == ("after", "disks") and not away:
                bus.retire(data)
                away.append(asyncio.get_running_loop().call_later(1.0, bus.serve, data))

        deployed = await cloud.settle("deployVirtualMachine", **ready)
        machine = deployed["jobresult"]["virtualmachine"]["id"]
        cloud.role("orchestrator").engine.hook = leave_at_the_end
        ended = await cloud.settle("destroyVirtualMachine", id=machine, expunge="true")
        assert ended["jobstatus"] == 1, ended
        assert len(away) == 1

    world(story)
