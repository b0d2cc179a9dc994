"""Limits of accounts: what is up to them is made, what is beyond is refused; 0 is none at all."""

from __future__ import annotations

from typing import Any

import pytest

from csnode.model.identity import Account, Standing, User
from csnode.model.offering import Offering
from csnode.model.stock import Tally
from csnode.model.vm import Vm
from roles.api.config import ApiConfig
from tests.api import seeds
from tests.api.conftest import ADMIN, ALICE, Desk, opened_desk

MACHINE: dict[str, Any] = {
    "zoneid": seeds.ZONE, "serviceofferingid": seeds.SMALL, "templateid": seeds.IMAGE,
}  # fmt: skip
COUNTED = ("user_vm", "cpu", "memory", "volume", "primary_storage")


async def limit(desk: Desk, **limits: int) -> None:
    change = desk.store.acting_as("api").change()
    change.update(Account, seeds.ALICE, limits=limits)
    await change.commit()


@pytest.mark.parametrize("resource", COUNTED)
async def test_a_limit_of_zero_lets_nothing_be_made(desk: Desk, resource: str) -> None:
    await limit(desk, **{resource: 0})
    refusal = await desk.refused("deployVirtualMachine", ALICE, **MACHINE)
    assert (refusal["errorcode"], refusal["cserrorcode"]) == (535, 4370)
    assert resource in refusal["errortext"]
    assert await desk.store.find(Vm) == []
    assert await desk.store.find(Tally) == []
    await desk.ask("deployVirtualMachine", ADMIN, **MACHINE)


@pytest.mark.parametrize("resource", COUNTED)
async def test_what_is_up_to_a_limit_is_made_and_no_more(desk: Desk, resource: str) -> None:
    """A machine of the offering Small: 1 CPU, 512 MiB, a disk of 2 GiB."""
    one = {"user_vm": 1, "cpu": 1, "memory": 512, "volume": 1, "primary_storage": 2}[resource]
    await limit(desk, **{resource: 2 * one})
    for _ in range(2):
        await desk.ask("deployVirtualMachine", ALICE, **MACHINE)
    refusal = await desk.refused("deployVirtualMachine", ALICE, **MACHINE)
    assert refusal["errorcode"] == 535
    assert len(await desk.store.find(Vm)) == 2


async def test_a_limit_below_zero_is_none(desk: Desk) -> None:
    await limit(desk, **dict.fromkeys(COUNTED, -1))
    await desk.ask("deployVirtualMachine", ALICE, **MACHINE)


async def test_accounts_are_shown_what_is_left_of_their_limits(desk: Desk) -> None:
    await limit(desk, user_vm=0, cpu=3, memory=-1)
    await desk.ask("deployVirtualMachine", ADMIN, **MACHINE)
    (shown,) = (await desk.ask("listAccounts", ALICE))["account"]
    assert (shown["vmlimit"], shown["vmavailable"], shown["vmtotal"]) == ("0", "0", 0)
    assert (shown["cpulimit"], shown["cpuavailable"], shown["cputotal"]) == ("3", "3", 0)
    assert (shown["memorylimit"], shown["memoryavailable"]) == ("Unlimited", "Unlimited")


async def failed_logins(desk: Desk, times: int) -> Standing:
    for _ in range(times):
        reply = await desk.reply("login", by=None, username="alice", password="x", domain="acme")
        assert reply.status == 531
    return (await desk.store.get(User, seeds.user_of(seeds.ALICE))).standing


@pytest.mark.parametrize(("attempts", "after"), [(0, Standing.ENABLED), (3, Standing.DISABLED)])
async def test_so_many_wrong_passwords_disable_a_user_and_zero_is_no_limit(
    attempts: int, after: Standing
) -> None:
    async with opened_desk(ApiConfig(listen="", login_attempts=attempts)) as desk:
        assert await failed_logins(desk, 2) is Standing.ENABLED
        assert await failed_logins(desk, 1) is after


async def test_a_machine_whose_host_is_proven_off_is_stopped_in_every_list(desk: Desk) -> None:
    """Nobody is left there who could report that it is off."""
    net = seeds.uuid(500)
    await desk.plant(
        [*seeds.network(net), *seeds.machine(1, net), *seeds.machine(2, net, host=None)]
    )
    shown = (await desk.ask("listVirtualMachines", ALICE))["virtualmachine"]
    assert {vm["name"]: vm["state"] for vm in shown} == {"web1": "Running", "web2": "Stopped"}
    (account,) = (await desk.ask("listAccounts", ALICE))["account"]
    assert (account["vmrunning"], account["vmstopped"]) == (1, 1)


@pytest.mark.parametrize(("own", "offered"), [(True, False), (False, True), (False, False)])
async def test_a_machine_is_shown_to_be_kept_running_exactly_if_it_is(
    desk: Desk, own: bool, offered: bool
) -> None:
    """By its own word or its offering's: the orchestrator asks the same function."""
    net = seeds.uuid(500)
    change = desk.store.change()
    change.update(Offering, seeds.SMALL, offer_ha=offered)
    await change.commit()
    await desk.plant([*seeds.network(net), *seeds.machine(1, net, ha=own)])
    (shown,) = (await desk.ask("listVirtualMachines", ALICE))["virtualmachine"]
    assert shown["haenable"] is (own or offered)
