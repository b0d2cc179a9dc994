"""listApis: what each command takes and answers."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import msgspec
import pytest

from csnode.api.about import Rank
from csnode.api.catalog import describe, entries, markdown
from csnode.api.command import Answers, load_commands
from tests.api.conftest import ADMIN, ALICE, Desk

HERE = Path(__file__).parent
GOLDEN = HERE / "golden" / "listapis.json"
FACTS: dict[str, Any] = msgspec.json.decode((HERE / "facts.json").read_bytes())
COMMANDS = load_commands()
OURS = [d for d in COMMANDS.values() if d.name in FACTS]
OF_JOBS = {"jobid", "jobstatus"}  # every object carries them while a job is at work on it
TAKES_TEXT = {("login", "domainId")}  # a number in CloudStack, or a uuid: so it is text here


def test_listapis_is_as_recorded() -> None:
    """Run with the golden file absent to record what a reviewer should then see in the diff."""
    found = {e["name"]: e for e in entries(Rank.ROOT_ADMIN) if e["name"] in FACTS}
    text = msgspec.json.format(msgspec.json.encode(found), indent=1) + b"\n"
    if not GOLDEN.exists():
        GOLDEN.parent.mkdir(exist_ok=True)
        GOLDEN.write_bytes(text)
    assert text.decode() == GOLDEN.read_text()


def test_every_command_of_the_facts_is_there() -> None:
    assert {d.name for d in COMMANDS.values()} >= set(FACTS)
    assert len(FACTS) >= 39


@pytest.mark.parametrize("declared", OURS, ids=lambda d: d.name)
def test_a_command_takes_what_cloudstack_takes(declared: Any) -> None:
    facts, entry = FACTS[declared.name], describe(declared)
    for param in entry["params"]:
        if (declared.name, param["name"]) not in TAKES_TEXT:
            assert facts["params"].get(param["name"]) == param["type"], param
    required = [p["name"] for p in entry["params"] if p["required"]]
    assert sorted(required) == sorted(facts["required"])


@pytest.mark.parametrize("declared", OURS, ids=lambda d: d.name)
def test_a_command_answers_as_cloudstack_does(declared: Any) -> None:
    facts, entry = FACTS[declared.name], describe(declared)
    assert declared.wrapper == facts["wrapper"]
    assert declared.is_async is facts["async"]
    assert (declared.answers is Answers.CREATED) is facts["create"]
    assert declared.java in facts["classes"]
    if facts["kind"] in ("list", "entity"):
        assert declared.key == facts["key"]
    for field in entry["response"]:
        if field["name"] not in OF_JOBS:
            assert facts["response"].get(field["name"]) == field["type"], field


@pytest.mark.parametrize("declared", OURS, ids=lambda d: d.name)
def test_everything_is_described(declared: Any) -> None:
    entry = describe(declared)
    assert entry["description"].endswith(".")
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
    for declared in OURS:
        assert f"## {declared.name}\n" in page
