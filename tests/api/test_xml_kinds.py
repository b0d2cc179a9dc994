"""XML says the same as JSON, for each kind of response."""

from __future__ import annotations

from typing import Any
from xml.etree import ElementTree

import msgspec
import pytest

from csnode.model.job import Job, JobState
from tests.api import seeds
from tests.api.conftest import ADMIN, ALICE, Desk

NET = seeds.uuid(500)
VM = seeds.uuid(1_000_001)
IMAGE = {"name": "tiny", "url": "http://x/tiny.qcow2", "format": "QCOW2", "hypervisor": "KVM",
         "zoneid": seeds.ZONE}  # fmt: skip
DEPLOY = {"zoneid": seeds.ZONE, "serviceofferingid": seeds.SMALL, "templateid": seeds.IMAGE}

KINDS: list[tuple[str, dict[str, str]]] = [
    ("listVirtualMachines", {"listall": "true"}),
    ("listTemplates", {"templatefilter": "all"}),
    ("listPods", {}),
    ("listHosts", {}),
    ("listStoragePools", {}),
    ("listAccounts", {"listall": "true"}),
    ("listApis", {"name": "listZones"}),
    ("listAsyncJobs", {}),
    ("listCapabilities", {}),
    ("getUserKeys", {"id": seeds.user_of(seeds.ALICE)}),
    ("queryAsyncJobResult", {"jobid": seeds.uuid(88)}),
    ("queryAsyncJobResult", {"jobid": seeds.uuid(89)}),
    ("listVirtualMachines", {"page": "x"}),
    ("logout", {}),
]


def as_xml(name: str, value: Any, maps: set[str]) -> list[tuple[str, Any]]:
    """What the XML must hold, from the JSON: (tag, text or children)."""
    if isinstance(value, list):
        return [e for v in value for e in as_xml(name, v, maps)]  # pyright: ignore
    if isinstance(value, dict):
        if name in maps:
            inner = ", ".join(f"{k}={v}" for k, v in value.items())  # pyright: ignore
            return [(name, "{" + inner + "}")]
        found = [e for k, v in value.items() for e in as_xml(str(k), v, maps)]  # pyright: ignore
        return [(name, found)]
    if isinstance(value, bool):
        return [(name, "true" if value else "false")]
    return [(name, str(value))]


def as_told(element: ElementTree.Element) -> tuple[str, Any]:
    children = [as_told(child) for child in element]
    return element.tag, children or element.text or []


@pytest.mark.parametrize(("command", "params"), KINDS)
async def test_xml_says_the_same(desk: Desk, command: str, params: dict[str, str]) -> None:
    await desk.plant([*seeds.network(NET), *seeds.machine(1, NET)])
    done: dict[str, Any] = {"verb": "stop_vm", "order": {}, "command": "stopVirtualMachine"}
    done |= {"object_kind": "vm", "object_id": VM, "account": seeds.ADMIN}
    await desk.plant(
        [Job(id=seeds.uuid(88), state=JobState.DONE, **done),
         Job(id=seeds.uuid(89), state=JobState.FAILED, fault="no <room>", **done)]
    )  # fmt: skip
    plain = await desk.reply(command, ADMIN, response="json", **params)
    marked = await desk.reply(command, ADMIN, **params)
    assert marked.status == plain.status
    assert ("Content-Type", "text/xml; charset=UTF-8") in marked.headers
    ((wrapper, body),) = msgspec.json.decode(plain.body).items()
    root = ElementTree.fromstring(marked.body)
    assert root.attrib == {"cloud-stack-version": "4.22.1.0"}
    ((name, wanted),) = as_xml(wrapper, body, {"details"})
    told_name, told = as_told(root)
    assert (told_name, told) == (name, _emptied(wanted))


def _emptied(value: Any) -> Any:
    """An element without text and one without children look the same in XML."""
    if isinstance(value, list):
        return [(n, _emptied(v)) for n, v in value]  # pyright: ignore
    return value or []


async def test_answers_that_commit_come_as_xml_too(desk: Desk) -> None:
    async def told(command: str, by: Any = ALICE, **params: str) -> ElementTree.Element:
        reply = await desk.reply(command, by, **params)
        assert reply.status == 200, reply.body
        return ElementTree.fromstring(reply.body)

    made = await told("deployVirtualMachine", **DEPLOY)
    assert [child.tag for child in made] == ["id", "jobid"]
    listed = await told("registerTemplate", **IMAGE)
    assert [child.tag for child in listed] == ["count", "template"]
    entity = await told("createNetwork", name="back", zoneid=seeds.ZONE,
                        networkofferingid=seeds.NET_OFFERING)  # fmt: skip
    assert entity.findtext("network/name") == "back"
    assert entity.findtext("network/service/name") == "Dhcp"
    job = await told("deleteNetwork", id=entity.findtext("network/id") or "")
    assert [child.tag for child in job] == ["jobid"]
    done = await told("deleteServiceOffering", ADMIN, id=seeds.SMALL)
    assert done.findtext("success") == "true"
    empty = await told("listVirtualMachines", ADMIN)
    assert list(empty) == []
