"""Templates, offerings, keys: what their commands commit."""

from __future__ import annotations

from typing import Any

import pytest

from csnode.model.identity import User
from csnode.model.job import Job
from csnode.model.offering import Offering
from csnode.model.template import Template
from tests.api import seeds
from tests.api.conftest import ADMIN, ALICE, BOB, BOSS, Desk

NET = seeds.uuid(500)
IMAGE: dict[str, Any] = {
    "name": "tiny",
    "url": "http://images.test/tiny.qcow2",
    "format": "QCOW2",
    "hypervisor": "KVM",
    "zoneid": seeds.ZONE,
}


async def test_a_template_is_registered_and_fetched(desk: Desk) -> None:
    params: dict[str, Any] = {
        "checksum": "{SHA-256}" + "a" * 64,
        "ostypeid": seeds.DEBIAN,
        "ispublic": "true",
        "details[0].keyboard": "us",
    }
    answer = await desk.ask("registerTemplate", ALICE, **IMAGE, **params)
    (shown,) = answer["template"]
    assert answer["count"] == 1
    assert (shown["isready"], shown["status"], shown["account"]) == (False, "Processing", "alice")
    assert shown["details"] == {"keyboard": "us"}
    row = await desk.store.get(Template, shown["id"])
    assert (row.zone, row.public, row.featured, row.os_type) == (
        seeds.ZONE, True, False, seeds.DEBIAN)  # fmt: skip
    (job,) = await desk.store.find(Job)
    assert (job.verb, job.order, shown["jobid"]) == ("fetch_template", {"template": row.id}, job.id)


@pytest.mark.parametrize("zone", [{"zoneid": "-1"}, {"zoneid": "", "zoneids": "-1"}])
async def test_a_template_may_be_for_all_zones(desk: Desk, zone: dict[str, str]) -> None:
    answer = await desk.ask("registerTemplate", ALICE, **IMAGE | zone)
    assert answer["template"][0]["crossZones"] is True
    assert answer["template"][0]["zonename"] == "zone1"


@pytest.mark.parametrize(
    ("by", "params", "code", "text"),
    [
        (ALICE, {"format": "VHD"}, 431, "format VHD is not supported; use QCOW2 or RAW"),
        (ALICE, {"url": "ftp://images.test/x"}, 431, "must begin with http://, https:// or file"),
        (ALICE, {"url": "http://"}, 431, "names no image"),
        (ALICE, {"url": "http://[x/y"}, 431, "is malformed"),
        (ALICE, {"url": "file:///etc/shadow"}, 531, "only root admins may register a template"),
        (ALICE, {"isfeatured": "true"}, 531, "only root admins may register a featured"),
        (ALICE, {"checksum": "abc"}, 431, "checksum 'abc' is none"),
        (ALICE, {"checksum": "{MD5}" + "z" * 32}, 431, "is none"),
        (ALICE, {"checksum": "{SHA256}" + "a" * 64}, 431, "give {SHA-256} and 64 hex digits"),
        (ALICE, {"checksum": "{foo}" + "a" * 64}, 431, "is none"),
        (ALICE, {"checksum": "{SHA-256}" + "a" * 32}, 431, "is none"),
        (ALICE, {"checksum": "{MD5}" + "a" * 64}, 431, "is none"),
        (ALICE, {"url": "http://images.example:99999/a"}, 431, "url"),
        (ALICE, {"url": "http://images.example/a b\nc"}, 431, "url"),
        (ALICE, {"zoneid": ""}, 431, "zoneid or zoneids must be given"),
        (ALICE, {"zoneids": seeds.ZONE}, 431, "must not be given together"),
        (ALICE, {"url": "http://x/" + "y" * 2048}, 431, "Value greater than max allowed length"),
        (ALICE, {"ostypeid": seeds.uuid(999)}, 431, "Invalid parameter ostypeid"),
    ],
)
async def test_a_template_that_cannot_be_is_refused(
    desk: Desk, by: Any, params: dict[str, str], code: int, text: str
) -> None:
    before = await desk.store.find(Template)
    body = await desk.refused("registerTemplate", by, **IMAGE | params)
    assert (body["errorcode"], text in body["errortext"]) == (code, True), body["errortext"]
    assert await desk.store.find(Template) == before


async def test_a_root_admin_may_take_a_file(desk: Desk) -> None:
    await desk.ask("registerTemplate", ADMIN, **IMAGE | {"url": "file:///srv/tiny.qcow2"})


async def test_deleting_a_template_is_ordered(desk: Desk) -> None:
    answer = await desk.ask("deleteTemplate", ALICE, id=seeds.PRIVATE_IMAGE)
    job = await desk.store.get(Job, answer["jobid"])
    assert (job.verb, job.order) == ("delete_template", {"template": seeds.PRIVATE_IMAGE})
    assert (await desk.store.get(Template, seeds.PRIVATE_IMAGE)).gone
    assert await desk.ask("listTemplates", ALICE, templatefilter="self") == {}


async def test_a_template_in_use_stays(desk: Desk) -> None:
    await desk.plant([*seeds.network(NET), *seeds.machine(1, NET)])
    body = await desk.refused("deleteTemplate", ADMIN, id=seeds.IMAGE)
    assert body["errortext"].endswith("machines use it: web1")


@pytest.mark.parametrize("by", [BOB, BOSS])
async def test_a_public_template_is_deleted_by_its_owner_only(desk: Desk, by: Any) -> None:
    assert (await desk.refused("deleteTemplate", by, id=seeds.IMAGE))["errorcode"] == 531


async def test_an_offering_is_created_and_deleted(desk: Desk) -> None:
    params: dict[str, Any] = {
        "name": "Big",
        "cpunumber": "4",
        "memory": "4096",
        "rootdisksize": "20",
        "tags": "ssd, fast",
        "domainid": seeds.ACME,
    }
    shown = (await desk.ask("createServiceOffering", **params))["serviceoffering"]
    assert (shown["cpunumber"], shown["memory"], shown["storagetags"], shown["domain"]) == (
        4, 4096, "ssd,fast", "acme")  # fmt: skip
    row = await desk.store.get(Offering, shown["id"])
    assert (row.root_gib, row.tags, row.display_text) == (20, ("ssd", "fast"), "Big")
    assert await desk.ask("deleteServiceOffering", id=row.id) == {"success": True}
    names = [o["name"] for o in (await desk.ask("listServiceOfferings"))["serviceoffering"]]
    assert names == ["Small", "Acme only"]


@pytest.mark.parametrize(
    ("params", "text"),
    [
        ({"cpunumber": "0"}, "cpunumber must be a number from 1 to 255, not 0"),
        ({"cpunumber": "256"}, "cpunumber must be a number from 1 to 255, not 256"),
        ({"memory": "1"}, "memory must be a number from 32"),
        ({"memory": ""}, "memory must be a number"),
        ({"name": " "}, "Please specify a valid name"),
        ({"rootdisksize": "-1"}, "rootdisksize must be a number from 0"),
        ({"domainid": seeds.uuid(999)}, "Invalid parameter domainid"),
    ],
)
async def test_an_offering_that_cannot_be_is_refused(
    desk: Desk, params: dict[str, str], text: str
) -> None:
    base: dict[str, Any] = {"name": "Big", "cpunumber": "4", "memory": "4096"}
    body = await desk.refused("createServiceOffering", ADMIN, **base | params)
    assert (body["errorcode"], text in body["errortext"]) == (431, True), body["errortext"]


async def test_new_keys_are_good_at_once_and_old_ones_no_longer(desk: Desk) -> None:
    id = seeds.user_of(seeds.ALICE)
    new = (await desk.ask("registerUserKeys", ALICE, id=id))["userkeys"]
    assert len(new["apikey"]) == len(new["secretkey"]) == 86
    assert (await desk.ask("getUserKeys", ALICE, id=id))["userkeys"] == new
    user = await desk.store.get(User, id)
    assert (user.api_key, user.secret_key) == (new["apikey"], new["secretkey"])
    (listed,) = (await desk.ask("listUsers", ALICE))["user"]
    assert listed["apikey"] == new["apikey"]
    assert "secretkey" not in listed


@pytest.mark.parametrize(
    ("by", "account", "code"),
    [(ADMIN, seeds.BOB, 200), (BOSS, seeds.ALICE, 200), (BOSS, seeds.BOB, 431),
     (ALICE, seeds.BOB, 431), (ALICE, seeds.ADMIN, 431)],
)  # fmt: skip
async def test_keys_are_ones_own(desk: Desk, by: Any, account: str, code: int) -> None:
    for command in ("getUserKeys", "registerUserKeys"):
        reply = await desk.reply(command, by, response="json", id=seeds.user_of(account))
        assert reply.status == code
