"""Start, stop, reboot, destroy, recover, expunge, update: intents and orders."""

from __future__ import annotations

from typing import Any

import pytest

from csnode.contracts.data import Commit
from csnode.model.event import UserEvent
from csnode.model.job import Job, JobState
from csnode.model.vm import Vm, Want
from csnode.types import Power
from roles.api.config import ApiConfig
from tests.api import seeds
from tests.api.conftest import ADMIN, ALICE, BOB, BOSS, Desk, opened_desk

NET = seeds.uuid(500)
VM = seeds.uuid(1_000_001)


async def planted(desk: Desk, **columns: Any) -> None:
    await desk.plant([*seeds.network(NET), *seeds.machine(1, NET, **columns)])


RUNNING = {"want": Want.RUNNING, "power": Power.ON}
STOPPED = {"want": Want.STOPPED, "power": Power.OFF}
DESTROYED = {"want": Want.DESTROYED, "power": Power.OFF}
FAILED = {"want": Want.RUNNING, "power": Power.ABSENT, "started": False, "trouble": "no room"}
FALLEN = {"want": Want.RUNNING, "power": Power.OFF}
ANYWHERE = {"host": None, "cluster": None, "pod": None}


@pytest.mark.parametrize(
    ("command", "before", "params", "want", "verb", "order"),
    [
        ("startVirtualMachine", STOPPED, {}, Want.RUNNING, "start_vm",
         {"ha": False} | ANYWHERE),
        ("startVirtualMachine", FALLEN, {}, Want.RUNNING, "start_vm",
         {"ha": True} | ANYWHERE),
        ("startVirtualMachine", FAILED, {}, Want.RUNNING, "start_vm",
         {"ha": True} | ANYWHERE),
        ("stopVirtualMachine", RUNNING, {}, Want.STOPPED, "stop_vm", {"forced": False}),
        ("stopVirtualMachine", STOPPED, {}, Want.STOPPED, "stop_vm", {"forced": False}),
        ("stopVirtualMachine", RUNNING, {"forced": "true"}, Want.STOPPED, "stop_vm",
         {"forced": True}),
        ("rebootVirtualMachine", RUNNING, {}, Want.RUNNING, "reboot_vm", {"forced": False}),
        ("destroyVirtualMachine", RUNNING, {}, Want.DESTROYED, "destroy_vm", {"expunge": False}),
        ("destroyVirtualMachine", RUNNING, {"expunge": "true"}, Want.GONE, "destroy_vm",
         {"expunge": True}),
        ("destroyVirtualMachine", FAILED, {}, Want.GONE, "destroy_vm", {"expunge": True}),
        ("expungeVirtualMachine", DESTROYED, {}, Want.GONE, "expunge_vm", {}),
        ("expungeVirtualMachine", FAILED, {}, Want.GONE, "expunge_vm", {}),
    ],
)  # fmt: skip
async def test_an_order_goes_with_the_intent(
    desk: Desk, command: str, before: Any, params: Any, want: Want, verb: str, order: Any
) -> None:
    await planted(desk, **before)
    answer = await desk.ask(command, ADMIN, id=VM, **params)
    vm, job = await desk.store.get(Vm, VM), await desk.store.get(Job, answer["jobid"])
    assert (vm.want, job.verb, job.order) == (want, verb, {"vm": VM, **order})
    assert job.command == command
    (event,) = await desk.store.find(UserEvent, account=seeds.ALICE)
    assert (event.state, event.object_id) == ("Scheduled", VM)
    assert event.type.startswith("VM.")


@pytest.mark.parametrize(
    ("command", "before", "text"),
    [
        ("startVirtualMachine", RUNNING, "is already running"),
        ("startVirtualMachine", DESTROYED, "is in state Destroyed: recover it first"),
        ("stopVirtualMachine", DESTROYED, "is in state Destroyed"),
        ("stopVirtualMachine", FAILED, "is in state Error"),
        ("rebootVirtualMachine", STOPPED, "is not running but Stopped"),
        ("recoverVirtualMachine", RUNNING, f"Vm with id {VM} is not in the right state"),
        ("expungeVirtualMachine", RUNNING, f"Vm with id {VM} is not in the right state"),
    ],
)
async def test_a_state_that_does_not_allow_it_is_named(
    desk: Desk, command: str, before: Any, text: str
) -> None:
    await planted(desk, **before)
    body = await desk.refused(command, ADMIN, id=VM)
    assert (body["errorcode"], text in body["errortext"]) == (431, True), body
    assert await desk.store.find(Job) == []


async def test_orders_queue_up(desk: Desk) -> None:
    await planted(desk, **RUNNING)
    await desk.ask("stopVirtualMachine", ALICE, id=VM)
    await desk.ask("startVirtualMachine", ALICE, id=VM)
    await desk.ask("rebootVirtualMachine", ALICE, id=VM)
    assert len(await desk.store.find(Job)) == 3
    (row,) = (await desk.ask("listVirtualMachines", ALICE))["virtualmachine"]
    assert row["state"] == "Stopping"  # the oldest order is at work


async def test_the_state_follows_the_job_at_work(desk: Desk) -> None:
    await planted(desk, **STOPPED)
    answer = await desk.ask("startVirtualMachine", ALICE, id=VM)

    async def state() -> tuple[str, bool]:
        (row,) = (await desk.ask("listVirtualMachines", ALICE))["virtualmachine"]
        return row["state"], "jobid" in row

    assert await state() == ("Starting", True)
    await desk.observe(Vm, VM, "compute", power=Power.ON)
    assert await state() == ("Starting", True)
    change = desk.store.change()
    change.update(Job, answer["jobid"], state=JobState.DONE)
    await change.commit()
    assert await state() == ("Running", False)


async def test_recovering_is_done_at_once(desk: Desk) -> None:
    await planted(desk, **DESTROYED)
    answer = await desk.ask("recoverVirtualMachine", ADMIN, id=VM)
    assert answer["virtualmachine"]["state"] == "Stopped"
    assert (await desk.store.get(Vm, VM)).want is Want.STOPPED


@pytest.mark.parametrize(
    ("command", "params"),
    [("destroyVirtualMachine", {"expunge": "true"}), ("recoverVirtualMachine", {}),
     ("expungeVirtualMachine", {})],
)  # fmt: skip
async def test_users_expunge_and_recover_only_if_let(command: str, params: Any) -> None:
    for let in (False, True):
        async with opened_desk(ApiConfig(listen="", users_may_expunge=let)) as desk:
            await planted(desk, **DESTROYED)
            if let:
                await desk.ask(command, ALICE, id=VM, **params)
            else:
                body = await desk.refused(command, ALICE, id=VM, **params)
                assert body["errorcode"] == 531
                assert body["errortext"].endswith("allow.user.expunge.recover.vm key is set.")
            found = await desk.ask("listCapabilities", ALICE)
            assert found["capability"]["allowuserexpungerecovervm"] is let


async def test_a_protected_machine_stays(desk: Desk) -> None:
    await planted(desk, **RUNNING)
    await desk.ask("updateVirtualMachine", ALICE, id=VM, deleteprotection="true")
    body = await desk.refused("destroyVirtualMachine", ALICE, id=VM)
    assert "has delete protection enabled" in body["errortext"]


async def test_an_update_changes_what_was_given(desk: Desk) -> None:
    await planted(desk, **RUNNING, group="old")
    answer = await desk.ask("updateVirtualMachine", ALICE, id=VM, displayname="Shop", name="shop")
    row = answer["virtualmachine"]
    assert (row["displayname"], row["name"], row["group"]) == ("Shop", "shop", "old")
    body = await desk.refused("updateVirtualMachine", ALICE, id=VM, name="-shop")
    assert body["errortext"].startswith("Invalid name.")


@pytest.mark.parametrize("by", [BOB, ALICE, BOSS, ADMIN])
async def test_a_machine_obeys_its_own(desk: Desk, by: Any) -> None:
    await planted(desk, **RUNNING)
    if by is BOB:
        body = await desk.refused("stopVirtualMachine", by, id=VM)
        assert "entity does not exist" in body["errortext"]
    else:
        await desk.ask("stopVirtualMachine", by, id=VM)


async def test_a_row_that_moved_on_is_read_again(desk: Desk) -> None:
    """Another api changes the row between this one's reading and its commit."""
    await planted(desk, **RUNNING)
    meddled = 0

    async def meddle(_: Commit) -> None:
        nonlocal meddled
        if meddled < 2:
            meddled += 1
            change = desk.store.change()
            change.update(Vm, VM, group=f"g{meddled}")
            await change.commit()

    desk.behind.hinder(meddle)
    await desk.ask("stopVirtualMachine", ALICE, id=VM)
    vm = await desk.store.get(Vm, VM)
    assert (vm.want, vm.group, meddled) == (Want.STOPPED, "g2", 2)
    assert len(await desk.store.find(Job)) == 1
