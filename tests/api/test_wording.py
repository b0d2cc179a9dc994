"""What the data service refuses is told to users by names, and in words that they know."""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Any

import msgspec
import pytest

from csnode.api.call import Asked, Call
from csnode.contracts.refusal import Reason, reason_of
from csnode.data.change import Change
from csnode.faults import Conflict, Fault, Full, Unavailable
from csnode.model.identity import Account
from csnode.model.network import Network, Nic
from csnode.model.place import Zone
from csnode.model.stock import Range
from csnode.model.vm import Vm
from csnode.types import NetworkId
from roles.api.wording import worded
from tests.api import seeds
from tests.api.conftest import ADMIN, ALICE, Desk

NET, VM, GONE = seeds.uuid(500), seeds.uuid(1_000_001), seeds.uuid(666)
UNASKED, LEAVING = seeds.uuid(667), seeds.uuid(501)
SMALL = {"zoneid": seeds.ZONE, "serviceofferingid": seeds.SMALL, "templateid": seeds.IMAGE,
         "networkids": NET}  # fmt: skip
HOUSE = re.compile(r"tally|would pass|range|guest:|public:|vni:|account:|revision|\bvm\b|carded")


async def planted(desk: Desk) -> None:
    """A network with two addresses, and a machine that has one."""
    network, *more = seeds.network(NET)
    await desk.plant([network, *(row for row in more if not isinstance(row, Range))])
    await desk.plant([Range(id=f"guest:{NET}", low=0x0A010102, high=0x0A010103, form="ipv4")])
    await desk.plant(seeds.machine(1, NET))
    leaving, _ = seeds.network(LEAVING, name="leaving")
    unlike = {"gone": True, "vni": 1501, "public_address": "198.51.100.8"}
    await desk.plant([msgspec.structs.replace(leaving, **unlike)])
    await desk.api.view.fresh()


def over_limit(change: Change) -> None:
    change.count(f"account:{seeds.ALICE}", {"user_vm": 2}, {"user_vm": 1})


def used_up(change: Change) -> None:
    for n in range(5):
        change.take(f"guest:{NET}", f"owner-{n}")


def zone_used_up(change: Change) -> None:
    change.create(Range(id="public:z", low=1, high=0, form="ipv4"))
    change.take("public:z", "owner")


def taken(change: Change) -> None:
    for n in range(2):
        change.take(f"guest:{NET}", f"owner-{n}", wish=0x0A010103)


def not_unique(change: Change) -> None:
    change.create(Zone(id=GONE, name="zone1"))


def there_already(change: Change) -> None:
    change.create(Zone(id=seeds.ZONE, name="again"))


def moved(change: Change) -> None:
    change.update(Vm, VM, revision=99, group="x")


def gone(change: Change) -> None:
    change.update(Network, GONE, name="x")


def gone_unasked(change: Change) -> None:
    change.update(Vm, UNASKED, group="x")


def card(network: str) -> Nic:
    return Nic(id=UNASKED, vm=VM, network=NetworkId(network), mac="02:00:00:00:00:99")


def names_what_is_gone(change: Change) -> None:
    change.create(card(GONE))


def names_what_leaves(change: Change) -> None:
    change.create(card(LEAVING))


def takes_what_is_needed(change: Change) -> None:
    change.delete(Network, NET)


CASES: dict[Callable[[Change], None], tuple[int, str]] = {
    over_limit: (535, "Maximum amount of resources of Type = 'user_vm' for Account Name = alice in "
                      f"Domain Id = {seeds.ACME} has been exceeded: Account Resource Limit = 1, "),
    used_up: (533, "Unable to allocate an IP address in network front: all from 10.1.1.2 to "
                   "10.1.1.3 are in use."),
    zone_used_up: (533, "Unable to allocate a public IP address: all from "),
    taken: (431, "10.1.1.3 is already in use in network front."),
    not_unique: (431, "A zone with name: zone1 already exists."),
    there_already: (536, f"A zone with the id {seeds.ZONE} already exists."),
    moved: (536, "is being changed by another request at this moment. Nothing was changed; please"),
    gone: (431, f"Invalid parameter networkids value={GONE} due to"),
    gone_unasked: (431, f"The virtual machine {UNASKED} does not exist any more."),
    names_what_is_gone: (431, f"Invalid parameter networkids value={GONE} due to"),
    names_what_leaves: (431, "The network leaving is being deleted."),
    takes_what_is_needed: (431, "The network front is still in use by the virtual machine web1."),
}  # fmt: skip


async def refused(desk: Desk, change: Callable[[Change], None]) -> tuple[Fault, Fault]:
    """What the data service says to a change, and what a user is told."""
    made = desk.store.change()
    change(made)
    with pytest.raises(Fault) as caught:
        await made.commit()
    asked = Asked(command="deployVirtualMachine", params={"zoneid": "z", "networkids": f"a,{GONE}"})
    view, door = desk.api.view, desk.api.door
    call = Call(ALICE, asked, view, made, door.shelves, door.options, door.logins, door.backlog)
    return caught.value, worded(caught.value, call)


@pytest.mark.parametrize("change", CASES, ids=lambda change: change.__name__)
async def test_a_refusal_is_told_in_the_words_of_users(
    desk: Desk, change: Callable[[Change], None]
) -> None:
    await planted(desk)
    code, text = CASES[change]
    said, told = await refused(desk, change)
    assert told.code == code
    assert text in told.message
    assert not HOUSE.search(told.message), told.message
    assert said.message in told.detail  # for our log


async def test_every_reason_of_the_data_service_has_words(desk: Desk) -> None:
    await planted(desk)
    reasons = {type(reason_of((await refused(desk, change))[0])) for change in CASES}
    assert reasons == set(Reason.__args__)


def test_a_fault_without_a_reason_stays_as_it_is() -> None:
    for fault in (
        Conflict("because"),
        Full("no", detail="{not json"),
        Unavailable("x", detail="{}"),
        Conflict("later", detail='{"type":"of a later version"}'),
    ):
        nobody: Any = None
        assert worded(fault, nobody) is fault


async def test_a_full_network_is_named_to_the_admin_who_deploys_into_it(desk: Desk) -> None:
    await planted(desk)
    for _ in range(2):
        await desk.ask("deployVirtualMachine", ALICE, **SMALL)
    mine = {"account": "alice", "domainid": seeds.ACME}
    said = await desk.refused("deployVirtualMachine", ADMIN, **SMALL, **mine)
    assert (said["errorcode"], said["cserrorcode"]) == (533, 4320)
    assert said["errortext"].startswith("Unable to allocate an IP address in network front: ")
    said = await desk.refused("deployVirtualMachine", ALICE, **SMALL)
    assert said["errorcode"] == 533  # as in CloudStack, which tells admins alone what is short


async def test_a_limit_that_another_api_used_up_is_told_as_our_own(desk: Desk) -> None:
    """The api asks again, and then its own look finds the limit."""
    await planted(desk)
    change = desk.store.change()
    change.update(Account, seeds.ALICE, limits={"user_vm": 0})
    await change.commit()
    said = await desk.refused("deployVirtualMachine", ALICE, **SMALL)
    assert said["errorcode"] == 535
    assert "Type = 'user_vm' for Account Name = alice" in said["errortext"]
