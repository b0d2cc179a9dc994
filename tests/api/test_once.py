"""The same request twice is one request: Idempotency-Key, customid, customjobid."""

from __future__ import annotations

import asyncio
import random
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from typing import Any

import aiohttp
import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from csnode.api.about import Rank
from csnode.api.call import Caller
from csnode.api.command import load_commands
from csnode.api.once import checked_key, digest
from csnode.bus.local import LocalBus
from csnode.bus.service import Method
from csnode.config import NodeConfig
from csnode.data.store import Store
from csnode.directory.alone import AloneDirectory
from csnode.faults import Invalid, Unavailable
from csnode.model.event import UserEvent
from csnode.model.identity import User
from csnode.model.job import Job, JobState
from csnode.model.network import Network, Nic
from csnode.model.offering import Offering
from csnode.model.physical import PhysicalNetwork
from csnode.model.place import Pod, Zone
from csnode.model.stock import Taken, Tally
from csnode.model.template import Template
from csnode.model.vm import Vm
from csnode.model.volume import Volume
from csnode.testing.loop import simulate
from csnode.testing.patience import patient
from roles.api.config import ApiConfig
from roles.api.role import ApiRole
from tests.api import seeds
from tests.api.conftest import ADMIN, ALICE, BOB, BOSS, Desk, opened_desk

NET, VM = seeds.uuid(500), seeds.uuid(1_000_001)
SMALL: dict[str, str] = {
    "zoneid": seeds.ZONE,
    "serviceofferingid": seeds.SMALL,
    "templateid": seeds.IMAGE,
}
TEMPLATE: dict[str, Any] = {"name": "tiny", "url": "http://images.test/t.qcow2", "format": "QCOW2",
            "hypervisor": "KVM", "zoneid": "-1"}  # fmt: skip
NETWORK: dict[str, Any] = {
    "name": "mine",
    "zoneid": seeds.ZONE,
    "networkofferingid": seeds.NET_OFFERING,
}
SIZE: dict[str, Any] = {"name": "big", "cpunumber": "4", "memory": "4096"}
PLACE: dict[str, str] = {"name": "east", "networktype": "Advanced", "dns1": "9.9.9.9"}
CREATE: list[tuple[str, dict[str, str], type[Any]]] = [
    ("deployVirtualMachine", SMALL, Vm),
    ("registerTemplate", TEMPLATE, Template),
    ("createNetwork", NETWORK, Network),
    ("createServiceOffering", SIZE, Offering),
]
PLACES: list[tuple[str, dict[str, str], type[Any]]] = [
    ("createZone", PLACE | {"internaldns1": "10.0.0.2"}, Zone),
    ("createPod", {"name": "rack", "zoneid": seeds.ZONE}, Pod),
    ("createPhysicalNetwork", {"name": "core", "zoneid": seeds.ZONE}, PhysicalNetwork),
]
ELSEWHERE = {"registerUserKeys", "addCluster", "addTrafficType", "createVlanIpRange",
             "addHost", "createStoragePool"}  # fmt: skip


async def sent(desk: Desk, command: str, key: str, by: Caller = ALICE, /, **params: str) -> Any:
    """Status and the content of the answer."""
    received = {"command": command, "response": "json", **params}
    reply = await desk.api.answer(received, caller=by, key=key)
    (body,) = msgspec.json.decode(reply.body).values()
    return reply.status, body


def ids(body: dict[str, Any]) -> list[str]:
    """What an answer says was made, and its job."""
    for value in body.values():
        if not isinstance(value, str | int):
            return [(value if "id" in value else value[0])["id"]]
    return [body.get("id", ""), body.get("jobid", "")]


# -- the header -------------------------------------------------------------------------------


@pytest.mark.parametrize(("command", "params", "kind"), CREATE + PLACES, ids=lambda v: str(v)[:20])
async def test_a_create_with_the_same_key_is_once(
    desk: Desk, command: str, params: dict[str, str], kind: type[Any]
) -> None:
    before = len(await desk.store.find(kind))
    first, second = [await sent(desk, command, "k-1", ADMIN, **params) for _ in range(2)]
    assert first == second
    assert first[0] == 200
    assert len(await desk.store.find(kind)) == before + 1
    _, third = await sent(desk, command, "k-2", ADMIN, **params | {"name": "other"})
    assert ids(third) != ids(first[1])


async def test_every_command_that_makes_something_is_tried_above() -> None:
    makes = {d.name for d in load_commands().values() if d.changes and d.name.lower().startswith(
        ("create", "deploy", "register", "add", "copy", "upload"))}  # fmt: skip
    assert makes == {command for command, _, _ in CREATE + PLACES} | ELSEWHERE


async def test_new_keys_are_made_once(desk: Desk) -> None:
    user = seeds.user_of(seeds.ALICE)
    first = await sent(desk, "registerUserKeys", "k", id=user)
    assert first == await sent(desk, "registerUserKeys", "k", id=user)
    assert (await desk.store.get(User, user)).api_key == first[1]["userkeys"]["apikey"]


@pytest.mark.parametrize("command", ["stopVirtualMachine", "destroyVirtualMachine"])
async def test_an_order_with_the_same_key_is_one_job(desk: Desk, command: str) -> None:
    await desk.plant([*seeds.network(NET), *seeds.machine(1, NET)])
    first = await sent(desk, command, "k", id=VM)
    assert first == await sent(desk, command, "k", id=VM)
    assert [job.id for job in await desk.store.find(Job)] == [first[1]["jobid"]]
    assert (await sent(desk, "stopVirtualMachine", "another", id=VM))[1] != first[1]


async def test_a_repetition_is_known_when_it_makes_no_sense_any_more(desk: Desk) -> None:
    """The machine has stopped and was expunged; the answer to the first request stands."""
    await desk.plant([*seeds.network(NET), *seeds.machine(1, NET)])
    first = await sent(desk, "stopVirtualMachine", "k", id=VM)
    change = desk.store.change()
    change.items += await desk.with_parts(VM)
    change.delete(Job, first[1]["jobid"])
    await change.commit()
    assert await sent(desk, "stopVirtualMachine", "k", id=VM) == first
    assert await desk.store.find(Job) == []


async def test_what_was_made_under_a_key_and_is_gone_is_not_made_again(desk: Desk) -> None:
    _, made = await sent(desk, "createNetwork", "k", **NETWORK)
    id = made["network"]["id"]
    change = desk.store.change()
    change.delete(Network, id)
    await change.commit()
    assert await sent(desk, "createNetwork", "k", **NETWORK) == (200, {"network": {"id": id}})
    assert await desk.store.find(Network) == []


async def test_a_repetition_is_answered_when_what_it_was_about_is_gone_too(desk: Desk) -> None:
    """Before, it was looked for again without end."""
    _, made = await sent(desk, "createZone", "", ADMIN, **PLACE | {"internaldns1": "10.0.0.2"})
    zone = made["zone"]["id"]
    span = {"zoneid": zone, "gateway": "203.0.113.1", "netmask": "255.255.255.0",
            "startip": "203.0.113.10", "endip": "203.0.113.20"}  # fmt: skip
    status, made = await sent(desk, "createVlanIpRange", "k", ADMIN, **span)
    assert status == 200
    id = made["vlan"]["id"]
    assert (await sent(desk, "deleteVlanIpRange", "", ADMIN, id=id))[0] == 200
    assert (await sent(desk, "deleteZone", "", ADMIN, id=zone))[0] == 200
    async with asyncio.timeout(patient(10)):
        again = await sent(desk, "createVlanIpRange", "k", ADMIN, **span)
    assert again == (200, {"vlan": {"id": id}})


async def test_a_repetition_that_may_not_be_answered_any_more_is_refused(desk: Desk) -> None:
    user = seeds.user_of(seeds.ALICE)
    assert (await sent(desk, "registerUserKeys", "k", BOSS, id=user))[0] == 200
    change = desk.store.change()
    change.delete(User, user)
    await change.commit()
    async with asyncio.timeout(patient(10)):
        status, body = await sent(desk, "registerUserKeys", "k", BOSS, id=user)
    assert (status, user in body["errortext"]) == (431, True)


async def test_without_its_line_a_request_is_known_by_what_it_made(desk: Desk) -> None:
    """History is deleted some day; the ids follow from the key."""
    machine = await sent(desk, "deployVirtualMachine", "k", **SMALL)
    network = await sent(desk, "createNetwork", "k", **NETWORK)
    change = desk.store.change()
    for event in await desk.store.find(UserEvent):
        change.delete(UserEvent, event.id)
    await change.commit()
    assert await sent(desk, "deployVirtualMachine", "k", **SMALL) == machine
    assert await sent(desk, "createNetwork", "k", **NETWORK) == network
    assert len(await desk.store.find(Vm)) == 1


async def test_with_nothing_left_a_request_is_carried_out_anew(desk: Desk) -> None:
    first = await sent(desk, "createServiceOffering", "k", ADMIN, **SIZE)
    id = first[1]["serviceoffering"]["id"]
    change = desk.store.change()
    change.delete(Offering, id)
    for event in await desk.store.find(UserEvent):
        change.delete(UserEvent, event.id)
    await change.commit()
    assert ids((await sent(desk, "createServiceOffering", "k", ADMIN, **SIZE))[1]) == [id]
    assert (await desk.store.get(Offering, id)).name == "big"


async def test_the_same_key_with_other_parameters_is_a_conflict(desk: Desk) -> None:
    await sent(desk, "deployVirtualMachine", "k", **SMALL)
    status, body = await sent(desk, "deployVirtualMachine", "k", **SMALL, displayname="x")
    assert (status, body["cserrorcode"]) == (536, 4370)
    assert body["errortext"] == (
        "Idempotency-Key k was given to deployVirtualMachine with other parameters before"
    )
    assert len(await desk.store.find(Vm)) == 1


async def test_a_key_is_its_accounts_and_its_commands_own(desk: Desk) -> None:
    jobs = {
        (await sent(desk, "deployVirtualMachine", "k", by, **SMALL))[1]["jobid"]
        for by in (ALICE, BOB, BOSS)
    }
    assert len(jobs) == 3
    assert (await sent(desk, "createNetwork", "k", **NETWORK))[0] == 200


async def test_a_refused_request_leaves_its_key_free(desk: Desk) -> None:
    status, _ = await sent(desk, "createNetwork", "k", **NETWORK, gateway="10.1.1.1")
    assert status == 431
    assert (await sent(desk, "createNetwork", "k", **NETWORK))[0] == 200


async def test_a_failed_job_keeps_its_key(desk: Desk) -> None:
    first = await sent(desk, "deployVirtualMachine", "k", **SMALL)
    change = desk.store.change()
    change.update(Job, first[1]["jobid"], state=JobState.FAILED, fault="no room", ended=9.0)
    change.items += await desk.with_parts(first[1]["id"])
    await change.commit()
    assert await sent(desk, "deployVirtualMachine", "k", **SMALL) == first
    assert await desk.store.find(Vm) == []


async def test_how_it_is_signed_and_shown_is_no_parameter(desk: Desk) -> None:
    first = await sent(desk, "deployVirtualMachine", "k", **SMALL)
    again = {"expires": "2030-01-01T00:00:00+0000", "signatureversion": "3", "_": "17", **SMALL}
    assert await sent(desk, "deployVirtualMachine", "k", **again) == first


async def test_a_list_may_carry_a_key(desk: Desk) -> None:
    assert (await sent(desk, "listZones", "k"))[1]["count"] == 1
    assert (await sent(desk, "listZones", "k", name="none"))[1] == {}


@pytest.mark.parametrize("key", ["", " ", '""', "k" * 256, "a\x7fb", "kä", "a\tb", "\udcff"])
async def test_a_bad_key_is_refused(desk: Desk, key: str) -> None:
    with pytest.raises(Invalid):
        checked_key(key)
    if key:
        status, body = await sent(desk, "createNetwork", key, **NETWORK)
        assert (status, "Idempotency-Key" in body["errortext"]) == (400, True)
        assert await desk.store.find(Network) == []


def test_a_key_may_be_quoted() -> None:
    assert checked_key('"a \\"b\\" c"') == 'a "b" c'
    assert checked_key(" abc ") == checked_key('"abc"') == "abc"
    assert checked_key("k" * 255) == "k" * 255


async def test_the_key_comes_in_a_header(served: Desk) -> None:
    base = f"http://127.0.0.1:{served.api.port}"
    async with aiohttp.ClientSession(base, cookie_jar=aiohttp.CookieJar(unsafe=True)) as session:
        login = {"command": "login", "username": "alice", "password": seeds.PASSWORD,
                 "domain": "acme", "response": "json"}  # fmt: skip
        async with session.post("/client/api", data=login) as answer:
            assert answer.status == 200
        asked = {"command": "deployVirtualMachine", "response": "json", **SMALL}
        told: list[Any] = []
        for key in ("one", '"one"', "two"):
            headers = {"Idempotency-Key": key, "traceparent": f"00-{'ab' * 16}-{'1' * 16}-01"}
            async with session.post("/client/api", data=asked, headers=headers) as answer:
                assert answer.status == 200
                told.append(await answer.json())
        async with session.post("/client/api", data=asked,
                                headers={"Idempotency-Key": ""}) as answer:  # fmt: skip
            assert answer.status == 400
    assert told[0] == told[1] != told[2]
    events = [e for e in await served.store.find(UserEvent) if e.type == "VM.CREATE"]
    assert {event.trace for event in events} == {"ab" * 16}
    assert {job.trace for job in await served.store.find(Job)} == {"ab" * 16}


# -- chosen ids -------------------------------------------------------------------------------


@pytest.mark.parametrize(("command", "params", "kind"), CREATE, ids=lambda v: str(v)[:20])
async def test_a_chosen_id_twice_is_once(
    desk: Desk, command: str, params: dict[str, str], kind: type[Any]
) -> None:
    before = len(await desk.store.find(kind))
    asked = {**params, "customid": seeds.uuid(77)}
    first, second = [await desk.ask(command, ADMIN, **asked) for _ in range(2)]
    assert first == second
    assert ids(first)[0] == seeds.uuid(77)
    assert len(await desk.store.find(kind)) == before + 1
    other = await desk.refused(command, ADMIN, **asked | {"displaytext": "x", "displayname": "x"})
    assert "was given to" in other["errortext"]


async def test_an_id_that_somebody_elses_object_has_is_refused(desk: Desk) -> None:
    await desk.plant([*seeds.network(NET), *seeds.machine(1, NET)])
    body = await desk.refused("deployVirtualMachine", ADMIN, customid=VM, **SMALL)
    assert body["errorcode"] == 536
    assert len(await desk.store.find(Vm)) == 1


@pytest.mark.parametrize(("command", "params", "kind"), CREATE, ids=lambda v: str(v)[:20])
async def test_a_chosen_id_is_the_id_of_no_object_of_another_kind(
    desk: Desk, command: str, params: dict[str, str], kind: type[Any]
) -> None:
    await desk.plant(seeds.network(NET))
    before = len(await desk.store.find(kind))
    taken = NET if kind is not Network else seeds.ALICE
    body = await desk.refused(command, ADMIN, **params, customid=taken)
    assert (body["errorcode"], taken in body["errortext"]) == (536, True)
    assert len(await desk.store.find(kind)) == before


async def test_of_two_that_choose_one_id_at_once_one_has_it(desk: Desk) -> None:
    id = seeds.uuid(77)
    chosen = {"customid": id, "response": "json"}
    replies = await asyncio.gather(
        *(
            desk.reply(command, ADMIN, **params, **chosen)
            for command, params, _ in CREATE
            if "vm" not in command.lower()
        )
    )
    assert [reply.status for reply in replies].count(200) == 1
    assert {reply.status for reply in replies} == {200, 536}


async def test_a_chosen_job_id_is_the_id_of_nothing_else(desk: Desk) -> None:
    await desk.plant([*seeds.network(NET), *seeds.machine(1, NET)])
    for id in (VM, NET, seeds.ALICE):
        body = await desk.refused("stopVirtualMachine", ADMIN, id=VM, customjobid=id)
        assert (body["errorcode"], id in body["errortext"]) == (536, True)
    assert await desk.store.find(Job) == []


async def test_a_chosen_job_id_twice_is_one_job(desk: Desk) -> None:
    await desk.plant([*seeds.network(NET), *seeds.machine(1, NET), *seeds.machine(2, NET)])
    asked = {"id": VM, "customjobid": seeds.uuid(78)}
    first = await desk.ask("stopVirtualMachine", ADMIN, **asked)
    assert (
        first == {"jobid": seeds.uuid(78)} == await desk.ask("stopVirtualMachine", ADMIN, **asked)
    )
    assert len(await desk.store.find(Job)) == 1
    for command, change in [
        ("startVirtualMachine", {}),
        ("stopVirtualMachine", {"id": seeds.uuid(1_000_002)}),
        ("deployVirtualMachine", SMALL),
    ]:
        body = await desk.refused(command, ADMIN, **asked | change)
        assert (body["errorcode"], "customjobid" in body["errortext"]) == (536, True)
    assert len(await desk.store.find(Job)) == 1


async def test_a_job_id_of_another_admin_is_refused(desk: Desk) -> None:
    other = Caller(user=seeds.uuid(99), account=ADMIN.account, domain=ADMIN.domain,
                   rank=Rank.ROOT_ADMIN)  # fmt: skip
    asked = {**SMALL, "customjobid": seeds.uuid(78)}
    await desk.ask("deployVirtualMachine", ADMIN, **asked)
    body = await desk.refused("deployVirtualMachine", other, **asked)
    assert "is the id of another job: deployVirtualMachine of vm" in body["errortext"]


async def test_chosen_ids_are_ignored_where_nothing_is_made(desk: Desk) -> None:
    await desk.plant([*seeds.network(NET), *seeds.machine(1, NET)])
    for name in ("a", "b"):
        asked = {"id": VM, "customid": VM, "displayname": name}
        shown = await desk.ask("updateVirtualMachine", ADMIN, **asked)
        assert shown["virtualmachine"]["displayname"] == name


async def test_users_choose_no_ids(desk: Desk) -> None:
    made = [await desk.ask("deployVirtualMachine", ALICE, customid=VM, **SMALL) for _ in range(2)]
    assert len({VM, *(body["id"] for body in made)}) == 3


def test_a_digest_tells_parameters_apart() -> None:
    known = ("a", "b", "map")
    apart = [{"a": "1"}, {"a": "12"}, {"a": "1", "b": "2"}, {"b": "1"}, {"map[0].x": "1"},
             {"map[0].y": "1"}, {"a": "1b", "b": ""}, {}]  # fmt: skip
    assert len({digest(params, known) for params in apart}) == len(apart)
    assert digest({"b": "2", "a": "1"}, known) == digest({"a": "1", "b": "2", "c": "3"}, known)


# -- at once, at two apis, with answers lost --------------------------------------------------


class RoughBus(LocalBus):
    """Calls take their time; the answer of a commit may be lost, whether or not it was done."""

    def __init__(self, seed: int, lost: float) -> None:
        super().__init__(AloneDirectory())
        self.random, self.lost = random.Random(seed), lost

    async def send(self, method: Method, at: str | None, args: tuple[Any, ...]) -> Any:
        await asyncio.sleep(self.random.random() * 0.05)
        rough = method.name.endswith("commit") and self.random.random() < self.lost
        if rough and self.random.random() < 0.3:
            raise Unavailable("the request was lost")
        answer = await super().send(method, at, args)
        await asyncio.sleep(self.random.random() * 0.05)
        if rough:
            raise Unavailable("the answer was lost")
        return answer


@asynccontextmanager
async def two_desks(bus: RoughBus) -> AsyncGenerator[tuple[Desk, Desk]]:
    """Two apis, each with a view of its own, in front of one data service."""
    lost, bus.lost = bus.lost, 0.0
    async with opened_desk(ApiConfig(listen=""), bus) as desk:
        api = ApiRole(ApiConfig(listen=""), NodeConfig(host="two"), bus, Store(bus, "api"))
        async with asynccontextmanager(api.opened)():
            bus.lost = lost
            yield desk, Desk(api, desk.store)
            bus.lost = 0.0


async def insisting(desk: Desk, command: str, key: str, params: dict[str, str]) -> Any:
    """A client that asks until it has an answer, as clients do."""
    while True:
        status, body = await sent(desk, command, key, ADMIN, **params)
        if status != 534:
            return status, body
        assert "data service" in body["errortext"]


@settings(max_examples=12)
@given(
    seed=st.integers(0, 2**32),
    clients=st.integers(2, 8),
    lost=st.sampled_from([0.0, 0.3, 0.7]),
    create=st.sampled_from(CREATE),
    chosen=st.booleans(),
)
def test_any_number_at_any_apis_at_once_is_once(
    seed: int, clients: int, lost: float, create: tuple[str, dict[str, str], type[Any]],
    chosen: bool,
) -> None:  # fmt: skip
    command, params, kind = create
    key = "" if chosen else "k"
    params = {**params, "customid": seeds.uuid(77)} if chosen else params

    async def story() -> None:
        async with two_desks(RoughBus(seed, lost)) as desks:
            before = len(await desks[0].store.find(kind))
            answers = await asyncio.gather(
                *(insisting(desks[n % 2], command, key, params) for n in range(clients))
            )
            assert {status for status, _ in answers} == {200}
            assert len({tuple(ids(body)) for _, body in answers}) == 1
            store = desks[0].store
            assert len(await store.find(kind)) == before + 1
            assert len([e for e in await store.find(UserEvent) if e.asked]) == 1
            await _books_are_right(store, command)

    simulate(story())


async def _books_are_right(store: Store, command: str) -> None:
    """Nothing was taken or counted twice."""
    vms = len(await store.find(Vm))
    assert len(await store.find(Nic)) == len(await store.find(Volume)) == vms
    for tally in await store.find(Tally):
        assert tally.used.get("user_vm", 0) <= vms
    taken = [t for t in await store.find(Taken) if t.range == "vm"]
    assert len(taken) == vms
    jobs = {"deployVirtualMachine": 1, "registerTemplate": 1}.get(command, 0)
    assert len(await store.find(Job)) == jobs


@settings(max_examples=8)
@given(seed=st.integers(0, 2**32), lost=st.sampled_from([0.0, 0.5]))
def test_of_two_different_requests_with_one_key_one_wins(seed: int, lost: float) -> None:
    async def story() -> None:
        async with two_desks(RoughBus(seed, lost)) as desks:
            asked = [{**SMALL, "displayname": name} for name in ("a", "b", "a", "b")]
            answers = await asyncio.gather(
                *(insisting(desks[n % 2], "deployVirtualMachine", "k", params)
                  for n, params in enumerate(asked))
            )  # fmt: skip
            (vm,) = await desks[0].store.find(Vm)
            for params, (status, _) in zip(asked, answers, strict=True):
                assert status == (200 if params["displayname"] == vm.display_name else 536)

    simulate(story())
