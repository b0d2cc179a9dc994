"""listApis: what each command takes and answers, as recorded and as CloudStack's facts have it."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import msgspec
import pytest

from csnode.api.catalog import describe, markdown
from csnode.api.command import Answers, load_commands
from tests.api.conftest import ADMIN, ALICE, Desk
from tests.api.golden_of import GOLDEN, recorded

HERE = Path(__file__).parent
FACTS: dict[str, Any] = msgspec.json.decode((HERE / "facts.json").read_bytes())
COMMANDS = load_commands()
OURS = [d for d in COMMANDS.values() if d.name in FACTS]
OF_CSNODE = {"cancelAsyncJob", "listJobQueue", "listJobSteps"}  # commands that CloudStack has not
OF_JOBS = {"jobid", "jobstatus"}  # every object carries them while a job is at work on it
BEYOND = {  # what differs from CloudStack's words on purpose, each for its reason
    ("login", "domainId"),  # a number in CloudStack, or a uuid: so it is text here
    ("configureHAForHost", "details"),  # the fencer's options: CloudStack has another command
    ("findHostsForMigration", "unsuitablereason"),  # CloudStack says that a host is unfit, not why
    ("updateCluster", "cpuovercommitratio"),  # CloudStack: by updateConfiguration, which is to come
    ("updateCluster", "memoryovercommitratio"),
    ("listTrafficTypes", "kvmnetworklabel"),  # undocumented there; its server answers it
}
JSON_TYPES = {"string": "text", "date": "text", "boolean": "boolean"} | dict.fromkeys(
    ("short", "integer", "int", "long", "float", "double"), "number"
)


def test_every_command_is_as_recorded() -> None:
    """One that is not recorded, or has gone, is a difference too."""
    assert recorded() == GOLDEN.read_text(), (
        "the API's wire has changed. If it is meant: python -m tests.api.golden_of, "
        "and say so under *Wire* in CHANGELOG.md"
    )


def test_every_command_is_one_of_the_facts_or_of_csnode() -> None:
    """python -m tests.api.facts_of extracts the facts of a new one."""
    assert {d.name for d in COMMANDS.values()} == set(FACTS) | OF_CSNODE


def unlike(declared: Any) -> Iterator[str]:
    """The names of what a command takes or answers otherwise than CloudStack does."""
    facts, entry = FACTS[declared.name], describe(declared)
    for param in entry["params"]:
        if facts["params"].get(param["name"]) != param["type"]:
            yield param["name"]
    for field in entry["response"]:
        name = field["name"]
        word = facts["response"].get(name, "string" if name in facts["read"] else None)
        if name not in OF_JOBS and word != field["type"]:
            yield name
        parts: dict[str, str] = facts["nested"].get(name, {})
        for part in field.get("response", ()) if parts else ():
            if kind_of(parts.get(part["name"], "")) != kind_of(part["type"]):
                yield f"{name}.{part['name']}"


def kind_of(word: str) -> str:
    """What JSON makes of a type: of nested fields the facts often know no more."""
    return JSON_TYPES.get(word, word)


@pytest.mark.parametrize("declared", OURS, ids=lambda d: d.name)
def test_a_command_takes_and_shows_what_cloudstack_does(declared: Any) -> None:
    assert set(unlike(declared)) == {name for command, name in BEYOND if command == declared.name}
    entry, required = describe(declared), FACTS[declared.name]["required"]
    assert sorted(p["name"] for p in entry["params"] if p["required"]) == sorted(required)


@pytest.mark.parametrize("declared", OURS, ids=lambda d: d.name)
def test_a_command_answers_as_cloudstack_does(declared: Any) -> None:
    facts = FACTS[declared.name]
    assert declared.wrapper == facts["wrapper"]
    assert declared.is_async is facts["async"]
    assert (declared.answers is Answers.CREATED) is facts["create"]
    if facts["classes"]:
        assert declared.java in facts["classes"]
    if declared.name == "listCapabilities":  # called a list, and answers one object
        assert (declared.answers, declared.key) == (Answers.ENTITY, facts["key"])
    elif facts["kind"] == "list":
        assert (declared.answers, declared.key) == (Answers.LIST, facts["key"])
    elif facts["kind"] == "entity":
        assert declared.answers is not Answers.SUCCESS
        assert declared.key == facts["key"]
    elif facts["kind"] == "success":
        assert declared.shows is None
    else:
        assert declared.answers is Answers.BARE


@pytest.mark.parametrize("declared", COMMANDS.values(), ids=lambda d: d.name)
def test_everything_is_described(declared: Any) -> None:
    entry = describe(declared)
    assert entry["description"].removesuffix(")").endswith(".")
    for part in [*entry["params"], *entry["response"]]:
        assert part["description"], part


async def test_cloudmonkey_can_sync(desk: Desk) -> None:
    """It panics on an entry without these, or of another type."""
    found = await desk.ask("listApis", listall="true")
    assert found["count"] == len(found["api"]) > 30
    for entry in found["api"]:
        assert isinstance(entry["name"], str)
        assert isinstance(entry["description"], str)
        assert isinstance(entry["isasync"], bool)
        assert isinstance(entry["related"], str)
        for param in entry["params"]:
            assert isinstance(param["required"], bool)
            assert {"name", "description", "type", "length"} <= set(param)
        assert entry["response"]
        assert all("name" in field for field in entry["response"])


async def test_one_command_can_be_asked_for(desk: Desk) -> None:
    found = await desk.ask("listApis", name="deployVirtualMachine")
    assert found["count"] == 1
    assert found["api"][0]["isasync"] is True


async def test_an_unknown_one_is_an_empty_answer(desk: Desk) -> None:
    assert await desk.ask("listApis", name="launchRocket") == {}


async def test_a_user_sees_only_what_he_may_call(desk: Desk) -> None:
    names = {entry["name"] for entry in (await desk.ask("listApis", by=ALICE))["api"]}
    assert "deployVirtualMachine" in names
    assert not names & {"listHosts", "createServiceOffering", "listDomains", "login"}
    every = {entry["name"] for entry in (await desk.ask("listApis", by=ADMIN))["api"]}
    assert names < every


def test_the_docs_page_has_every_command() -> None:
    page = markdown()
    for declared in COMMANDS.values():
        assert f"## {declared.name}\n" in page
