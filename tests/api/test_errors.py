"""What goes wrong on the wire: codes, texts, wrappers."""

from __future__ import annotations

from typing import Any

import msgspec
import pytest

from csnode.api.about import Rank
from csnode.api.call import Call
from csnode.api.command import Answers, ApiCommand, Declaration
from csnode.api.parse import table
from csnode.faults import Broken, Fault, Full, Refused, Stale, Unavailable
from roles.api.door import Door
from tests.api import seeds
from tests.api.conftest import ADMIN, ALICE, BOB, BOSS, Desk

NOBODY = None
FAR = "2099-01-01T00:00:00+0000"
ABSENT = (
    "Invalid parameter id value={id} due to incorrect long value format, or entity does not exist"
)


@pytest.mark.parametrize(
    ("by", "params", "status", "wrapper", "text"),
    [
        (NOBODY, {}, 401, "null", "unable to verify user credentials and/or request signature"),
        (NOBODY, {"command": "listZones"}, 401, "listzonesresponse",
         "unable to verify user credentials and/or request signature"),
        (NOBODY, {"command": "listZones", "apiKey": "admin-key", "signature": "x"}, 401,
         "listzonesresponse", "unable to verify user credentials and/or request signature"),
        (NOBODY, {"command": "listZones", "apiKey": "nobody", "signature": "x"}, 401,
         "listzonesresponse", "unable to verify user credentials and/or request signature"),
        (ADMIN, {}, 400, "errorresponse", "no command specified"),
        (ADMIN, {"command": "launchRocket"}, 432, "errorresponse",
         "Unknown API command: launchRocket"),
        (ADMIN, {"command": "listzones"}, 432, "errorresponse", "Unknown API command: listzones"),
        (ALICE, {"command": "launchRocket"}, 432, "errorresponse",
         "The API launchRocket does not exist or is not available for this account."),
        (ALICE, {"command": "listHosts"}, 432, "errorresponse",
         "The API listHosts does not exist or is not available for this account."),
        (ADMIN, {"command": "listTemplates"}, 431, "listtemplatesresponse",
         "Unable to execute API command listtemplates due to missing parameter templatefilter"),
        (ADMIN, {"command": "listTemplates", "templatefilter": "best"}, 431,
         "listtemplatesresponse", "Unable to execute API command listtemplates due to invalid "
         "value best for parameter templatefilter"),
        (ALICE, {"command": "listTemplates", "templatefilter": "all"}, 431,
         "listtemplatesresponse", "Filter all can be specified by admin only"),
        (ADMIN, {"command": "listZones", "page": "1"}, 431, "listzonesresponse",
         '"pagesize" parameter is required when "page" is specified'),
        (ADMIN, {"command": "listZones", "pagesize": "1"}, 431, "listzonesresponse",
         '"page" parameter is required when "pagesize" is specified'),
        (ADMIN, {"command": "listZones", "pagesize": "-1", "page": "1"}, 431, "listzonesresponse",
         "Can't specify page parameter when pagesize is -1 (Unlimited)"),
        (ADMIN, {"command": "listZones", "pagesize": "501", "page": "1"}, 431,
         "listzonesresponse", "Page size can't exceed max allowed page size value: 500"),
        (ADMIN, {"command": "listZones", "tags[x].key": "a"}, 430, "listzonesresponse",
         "Unable to decode parameter tags[x].key; if specifying an object array, please use "
         "parameter[index].field=XXX, e.g. userGroupList[0].group=httpGroup"),
        (ADMIN, {"command": "listZones", "keyword": "a\x00b"}, 431, "listzonesresponse",
         "Received value containing illegal ASCII non-printable characters for parameter keyword"),
        (ADMIN, {"command": "listVirtualMachines", "account": "nobody"}, 431,
         "listvirtualmachinesresponse",
         f"could not find account nobody in domain {seeds.ROOT}"),
        (ALICE, {"command": "listVirtualMachines", "account": "bob", "domainid": seeds.OTHER},
         531, "listvirtualmachinesresponse",
         "Caller does not have permission to operate with account bob"),
        (BOSS, {"command": "listVirtualMachines", "domainid": seeds.OTHER}, 531,
         "listvirtualmachinesresponse",
         f"Caller may not list resources of domain {seeds.OTHER}"),
        (ADMIN, {"command": "listVirtualMachines", "details": "all,gold"}, 431,
         "listvirtualmachinesresponse", "Unable to execute API command listvirtualmachines due to "
         "invalid value gold for parameter details"),
        (ADMIN, {"command": "listEvents", "resourceid": "x"}, 431, "listeventsresponse",
         "resourceid and resourcetype must be given together"),
        (ADMIN, {"command": "listVirtualMachines", "id": seeds.uuid(7), "ids": seeds.uuid(7)},
         431, "listvirtualmachinesresponse", ABSENT.format(id=seeds.uuid(7))),
        (ADMIN, {"command": "login", "username": "a", "password": "b"}, 405, "loginresponse",
         "Please use HTTP POST to authenticate using this API"),
    ],
)  # fmt: skip
async def test_a_refusal_has_its_code_and_text(
    desk: Desk, by: Any, params: dict[str, str], status: int, wrapper: str, text: str
) -> None:
    reply = await desk.api.answer({"response": "json", **params}, caller=by, post=False)
    ((found, body),) = msgspec.json.decode(reply.body).items()
    assert (reply.status, found, body["errorcode"]) == (status, wrapper, status)
    assert text in body["errortext"]
    assert body["uuidList"] == []
    assert ("cserrorcode" in body) is (status != 401)
    assert text[:60].replace("\x00", " ") in reply.reason
    assert ("X-Description", reply.reason) in reply.headers


async def test_an_unknown_command_with_a_key_is_401(desk: Desk) -> None:
    reply = await desk.api.answer(
        {"command": "launchRocket", "apiKey": "alice-key", "response": "json"}, caller=ALICE
    )
    body = msgspec.json.decode(reply.body)["errorresponse"]
    assert reply.status == 401
    assert body["errortext"].endswith("either does not exist, is not available for user.")


@pytest.mark.parametrize(
    ("by", "fault", "code", "text"),
    [
        (ALICE, Full("no host has room"), 533, "Internal error executing command, please"),
        (ADMIN, Full("no host has room"), 533, "no host has room"),
        (ALICE, Unavailable("nobody serves Data"), 534, "Internal error executing command"),
        (ADMIN, Unavailable("nobody serves Data"), 534, "nobody serves Data"),
        (ADMIN, Refused("the disk said no"), 530, "the disk said no"),
        (ADMIN, Broken("a secret of ours"), 530, "Internal error executing command"),
        (ALICE, Full("limit", code=535), 535, "limit"),
        (ADMIN, ZeroDivisionError("ours"), 530, "Internal error executing command"),
    ],
)
async def test_inner_causes_are_for_root_admins(
    desk: Desk, by: Any, fault: Exception, code: int, text: str
) -> None:
    api = desk.api
    door = Door(api.store, api.view, {"fail": failing(fault)}, api.config)
    reply = await door.answer({"command": "fail", "response": "json"}, caller=by)
    door.close()
    body = msgspec.json.decode(reply.body)["failresponse"]
    assert reply.status == body["errorcode"] == code
    assert body["errortext"].startswith(text)


def failing(fault: Exception) -> Declaration:
    """A plug-in's command that always fails so."""

    class Fail(ApiCommand):
        async def run(self, call: Call) -> None:
            raise fault

    return Declaration(
        name="fail", request=Fail, answers=Answers.SUCCESS, shows=None, allows=Rank.USER, since="",
        event="", java="", open=False, table=table("fail", Fail),
    )  # fmt: skip


async def test_a_limit_met_after_a_stale_row_is_looked_at_again(desk: Desk) -> None:
    """Only the command can say in CloudStack's words which limit it was."""
    left = desk.behind.refuse(Stale("moved on"), Full("no room", code=535))
    await desk.ask("updateZone", id=seeds.ZONE, name="renamed")
    assert left == []


async def test_a_limit_that_is_met_twice_is_the_answer(desk: Desk) -> None:
    left = desk.behind.refuse(*[Full("no room", code=535)] * 3)
    assert (await desk.refused("updateZone", id=seeds.ZONE, name="renamed"))["errorcode"] == 535
    assert len(left) == 1, "and it was looked at again once"


async def test_a_row_that_moves_on_at_every_try_is_a_refusal(desk: Desk) -> None:
    left = desk.behind.refuse(*[Stale("moved on")] * 9)
    await desk.refused("updateZone", id=seeds.ZONE, name="renamed")
    assert len(left) == 4, "after five tries"


async def test_a_foreign_object_is_as_good_as_none(desk: Desk) -> None:
    net = seeds.uuid(500)
    await desk.plant([*seeds.network(net), *seeds.machine(1, net)])
    alices, none = seeds.uuid(1_000_001), seeds.uuid(999)
    commands = ("listVirtualMachines", "startVirtualMachine", "destroyVirtualMachine")
    for command in commands:
        texts = [
            (await desk.refused(command, BOB, id=id))["errortext"].replace(id, "ID")
            for id in (alices, none)
        ]
        assert texts[0] == texts[1]
        assert ABSENT.format(id="ID") in texts[0]


def test_every_fault_has_a_code() -> None:
    from csnode.faults import kinds

    for kind in kinds().values():
        assert issubclass(kind, Fault)
        assert kind.code in (431, 530, 531, 533, 534, 535, 536)
