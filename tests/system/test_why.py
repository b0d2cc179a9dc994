"""One trace id leads from the answer of an API call to the domain, and `csnode why` follows it."""

from __future__ import annotations

import asyncio
import json
import subprocess
from collections.abc import Iterator
from typing import Any

import aiohttp
import pytest

from csnode.cli.client import signature
from tests.system.processes import CSNODE, KEY, SECRET, SPLIT, Cloud, wait_for
from tests.system.test_clients import client, ended, prepared


@pytest.fixture(scope="module")
def cloud(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Cloud]:
    """Four processes that log JSON."""
    with Cloud(tmp_path_factory.mktemp("why")) as made:
        for roles in SPLIT:
            made.start(*roles)
        made.wait_ready()
        yield made


def why(cloud: Cloud, *arguments: str) -> subprocess.CompletedProcess[str]:
    command = (str(CSNODE), "--config", str(cloud.file), "why", *arguments)
    return subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)


async def post(cloud: Cloud, command: str, **parameters: str) -> tuple[str, dict[str, Any]]:
    """The trace id that the answer's header names, and the answer."""
    params = {**parameters, "command": command, "response": "json", "apiKey": KEY}
    params["signature"] = signature(params, SECRET)
    async with (
        aiohttp.ClientSession() as session,
        session.post(cloud.url, data=params) as answer,
    ):
        body: dict[str, Any] = next(iter((await answer.json()).values()))
        assert answer.status == 200, body
        return answer.headers["X-Trace-Id"], body


def logged(cloud: Cloud, name: str, trace: str) -> list[dict[str, Any]]:
    """The lines of a process that belong to the trace."""
    lines = [json.loads(line) for line in cloud.log(name).splitlines() if line.startswith("{")]
    return [line for line in lines if line.get("trace_id") == trace]


def test_one_trace_leads_from_the_answer_to_the_domain(cloud: Cloud) -> None:
    cs = client(cloud)
    params = prepared(cs) | {"name": "traced", "userdata": "aHVzaA=="}
    trace, answer = asyncio.run(post(cloud, "deployVirtualMachine", **params))
    vm, job = answer["id"], answer["jobid"]
    assert ended(cs, job)["jobstatus"] == 1
    started = wait_for(
        lambda: [
            line
            for line in logged(cloud, "compute+network+storage", trace)
            if vm in (line.get("vm"), line.get("object")) and "started" in line["event"]
        ],
        10,
        "the hypervisor's process logged the start, with the trace",
    )
    assert started

    told = why(cloud, vm, "--output", "json")
    assert told.returncode == 0, told.stderr
    chains = json.loads(told.stdout)["chains"]
    (chain,) = (c for c in chains if c["trace"] == trace)
    (call,) = chain["calls"]
    assert (call["command"], call["user"]) == ("deployVirtualMachine", "admin")
    (seen,) = chain["jobs"]
    assert (seen["id"], seen["verb"], seen["state"]) == (job, "deploy_vm", "done")
    assert [s["step"] for s in seen["steps"]]
    assert all(s["began"] <= s["ended"] for s in seen["steps"])
    commits = chain["commits"]
    assert [c["number"] for c in commits] == sorted(c["number"] for c in commits)
    made = next(c for c in commits if c["id"] == vm)
    assert (made["what"], made["by"].partition("@")[0]) == ("created", "api")
    assert made["changed"]["user_data"] == "..."
    by = {c["by"].partition("@")[0] for c in commits}
    assert by >= {"api", "orchestrator", "compute"}
    facts = [c for c in commits if c["fact"] and c["id"] == vm]
    assert {"power": "on"} in [c["changed"] for c in facts]
    assert {c["kind"] for c in commits} >= {"vm", "job", "volume", "nic", "event"}
    assert {e["type"] for e in chain["events"]} == {"VM.CREATE"}
    assert "aHVzaA" not in told.stdout


def test_a_failure_is_told_in_the_log_and_in_the_chain(cloud: Cloud) -> None:
    cs = client(cloud)
    huge = cs.createServiceOffering(
        name="huge", displaytext="huge", cpunumber=255, cpuspeed=1000, memory=2_000_000_000
    )["serviceoffering"]["id"]
    params = prepared(cs) | {"name": "too-large", "serviceofferingid": huge}
    trace, answer = asyncio.run(post(cloud, "deployVirtualMachine", **params))
    failed = ended(cs, answer["jobid"])
    assert failed["jobstatus"] == 2
    why_not = failed["jobresult"]["errortext"]
    assert any(
        (line["event"], line["job_id"]) == ("step failed", answer["jobid"])
        for line in logged(cloud, "api+orchestrator", trace)
        if "job_id" in line
    )
    for asked in (trace, answer["jobid"]):
        (chain,) = json.loads(why(cloud, asked, "--output", "json").stdout)["chains"]
        (job,) = chain["jobs"]
        assert (job["state"], job["fault"]) == ("failed", why_not)
        claim = [c for c in chain["commits"] if "owner" in (c["changed"] or {})]
        assert len(claim) >= 1  # it was claimed before its trace was known


def test_people_read_it_from_top_to_bottom(cloud: Cloud) -> None:
    cs = client(cloud)
    params = prepared(cs) | {"name": "for-people"}
    trace, answer = asyncio.run(post(cloud, "deployVirtualMachine", **params))
    assert ended(cs, answer["jobid"])["jobstatus"] == 1
    for asked in (trace, answer["id"], answer["jobid"]):
        text = why(cloud, asked).stdout
        block = next(b for b in text.split("\n\n") if trace in b)
        order = ("call deployVirtualMachine by admin", "job deploy_vm", "step ", "is done")
        places = [block.index(part) for part in order]
        assert places == sorted(places), block
        assert "power=on" in block
        assert len(max(block.splitlines(), key=len)) < 1000


def test_an_id_nobody_knows_is_one_line(cloud: Cloud) -> None:
    told = why(cloud, "no-such-id")
    assert told.returncode == 78
    assert told.stderr == "csnode: nothing about no-such-id is in the feed; is the id right?\n"
