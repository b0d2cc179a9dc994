"""Whoever took over a machine that runs guests is refused what is of others, and it is logged."""

from __future__ import annotations

import asyncio
import json
import re
import socket
import threading
import time
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

import msgspec
import pytest
import zmq

from csnode.bus.bus import Bus
from csnode.cli.joined import joined, members
from csnode.context import acting
from csnode.contracts.compute import Compute
from csnode.contracts.data import Commit, Create, Data, Delete, Give, Hold, Take, Update
from csnode.contracts.fabric import Fabric
from csnode.contracts.membership import Invitation, Membership, Renewal
from csnode.contracts.networking import Networking
from csnode.contracts.storage import Storage
from csnode.faults import Conflict, Denied, Fault, Invalid
from csnode.trust.files import Keys
from csnode.types import HostId
from tests.system.attack import (
    Air,
    Knock,
    beacon,
    hostile,
    impersonated,
    member,
    serving,
)
from tests.system.besieged import (
    ASKED_S,
    CONTROLLER,
    PRIVATE,
    Besieged,
    besieged,
    request_of,
    state_of,
)
from tests.system.processes import wait_for
from tests.system.test_clients import prepared

__all__ = ["besieged"]
BAITS_MAX = 40
Attack = Callable[[Besieged, Bus], Awaitable[Any]]


# -- whoever took over hv-1 --------------------------------------------------------------------


def _commit(*changes: Any, by: str = "") -> Attack:
    return lambda _, bus: bus.ask(Data).commit(Commit(changes=changes, by=by))


def _columns(**columns: Any) -> bytes:
    return msgspec.json.encode(columns)


def _update(kind: str, of: Callable[[Besieged], str], role: str, by: str = "", **to: Any) -> Attack:
    return lambda b, bus: bus.ask(Data).commit(
        Commit(changes=(Update(kind=kind, id=of(b), columns=_columns(**to), by=role),), by=by)
    )


def _find(kind: str, **where: Any) -> Attack:
    return lambda b, bus: bus.ask(Data).find(
        kind, {k: b.host_ids.get(v, v) for k, v in where.items()}, "", 100
    )


def _as(caller: str, attack: Attack) -> Attack:
    async def act(besieged: Besieged, bus: Bus) -> Any:
        with acting(caller=caller):
            return await attack(besieged, bus)

    return act


def _renewed(name: str, key: Callable[[Besieged], str] = lambda _: Keys.new().public) -> Attack:
    return lambda b, bus: bus.ask(Membership).renew(
        Renewal(name=name, key=key(b), verify=Keys.new().verify)
    )


def _vm(besieged: Besieged) -> str:
    return besieged.vm


def _host2(besieged: Besieged) -> str:
    return str(besieged.host_ids["hv-2"])


ATTACKS: dict[str, Attack] = {
    "an intent of the orchestrator's": _update("vm", _vm, "orchestrator", want="stopped"),
    "an intent in no name": _update("vm", _vm, "", want="stopped"),
    "an intent as compute": _update("vm", _vm, "compute", want="stopped"),
    "an intent in the orchestrator's name": _update(
        "vm", _vm, "", "orchestrator@box/all", want="stopped"
    ),
    "the host of a machine": _update("vm", _vm, "compute", host="somewhere"),
    "the power of a machine elsewhere": _update("vm", _vm, "compute", power="off"),
    "the power of it, in hv-2's name": _update("vm", _vm, "compute", "compute@hv-2", power="off"),
    "what the monitor saw of a host": _update("host", _host2, "monitor", seen="Down"),
    "the fence of a host": _update("host", _host2, "orchestrator", fenced=1.0),
    "its own seat": _update("seat", lambda _: "hv-1", "", roles=["fabric"]),
    "a new user": _commit(Create(kind="user", id="evil", row=b"{}")),
    "a new seat": _commit(Create(kind="seat", id="evil", row=b"{}")),
    "the end of a machine": lambda b, bus: bus.ask(Data).commit(
        Commit(changes=(Delete(kind="vm", id=b.vm),))
    ),
    "somebody's address": _commit(Take(range="mac", owner="evil")),
    "what somebody has": lambda b, bus: bus.ask(Data).commit(Commit(changes=(Give(owner=b.vm),))),
    "the orchestrator's lease": _commit(Hold(name="orchestrator", holder="hv-1", seconds=60)),
    "a lease in box's name": _commit(Hold(name="relay", holder="box/all", seconds=60)),
    **{f"every {kind}": _find(kind) for kind in
       ("user", "session", "account", "domain", "event", "invite", "alert", "vm", "volume",
        "keypair", "stock", "lease", "nothing")},
    "hv-2's machines": _find("vm", host="hv-2"),
    "one invite": lambda _, bus: bus.ask(Data).get("invite", "x"),
    "the feed of machines": lambda _, bus: bus.ask(Data).feed(0, ("vm",), 100),
    "the feed of users": lambda _, bus: bus.ask(Data).feed(0, ("user",), 100),
    "the feed of everything": lambda _, bus: bus.ask(Data).feed(0, ("zone", "vm", "user"), 100),
    "what was done in a trace": lambda _, bus: bus.ask(Data).history("", "0" * 32, 10),
    "the books": lambda _, bus: bus.ask(Data).check(),
    "power over hv-2": lambda b, bus: bus.ask(Fabric).fence(HostId(_host2(b))),
    "hv-2 to be switched on": lambda b, bus: bus.ask(Fabric).restore(HostId(_host2(b))),
    "hv-2 to be evicted": lambda _, bus: bus.ask(Membership).evict("hv-2"),
    "a token": lambda _, bus: bus.ask(Membership).invite(
        Invitation(key=Keys.new().public, roles=("fabric",))
    ),
    "more roles": lambda _, bus: bus.ask(Membership).allow("hv-1", ("data", "fabric"), ()),
    "a new key for the cluster": lambda _, bus: bus.ask(Membership).rotate_cluster(True),
    "who belongs": lambda _, bus: bus.ask(Membership).seats(),
    "a seat more": lambda _, bus: bus.ask(Membership).join(request_of("hv-9", Keys.new())),
    "hv-2's credential": _renewed("hv-2"),
    "the controlling machine's credential": _renewed("box"),
    "hv-2's key for its own": _renewed("hv-1", lambda b: b.victim.keys.public),
    "the controlling machine's key for its own": _renewed(
        "hv-1", lambda b: b.controller.keys.public
    ),
    "no key": _renewed("hv-1", lambda _: "\x1b[2J" * 10000),
    "hv-2's console": lambda b, bus: bus.ask(Compute, _host2(b)).console(b.vm),
    "hv-2's machines at hv-2": lambda b, bus: bus.ask(Compute, _host2(b)).inspect(),
    "a volume of hv-2": lambda b, bus: bus.ask(Storage, b.pool()).ensure_no_volume(b.vm),
    "a router of hv-2": lambda b, bus: bus.ask(Networking, _host2(b)).ensure_no_router(b.network),
    "to be the orchestrator": _as("orchestrator@box/all", _find("zone")),
    "to be hv-2": _as("compute@hv-2/compute", _find("zone")),
    "to be an orchestrator of its own": _as("orchestrator@hv-1/all", _find("zone")),
}  # fmt: skip


@pytest.fixture(scope="module")
def outcomes(besieged: Besieged) -> dict[str, Any]:
    """What each attempt of the stolen machine got: an answer, or a fault."""

    async def attempts() -> dict[str, Any]:
        found: dict[str, Any] = {}
        async with joined(besieged.config) as bus:
            await members(bus)
            for name, attack in ATTACKS.items():
                try:
                    found[name] = await attack(besieged, bus)
                except Fault as fault:
                    found[name] = fault
            found["vm"] = await bus.ask(Data).get("vm", besieged.vm)
            found["host"] = await bus.ask(Data).get("host", besieged.host_ids["hv-2"])
            found["history"] = await bus.ask(Data).history(besieged.vm, "", 100)
        return found

    rows = besieged.rows()
    found = asyncio.run(attempts())
    found["unchanged"] = besieged.rows() == rows
    return found


@pytest.mark.parametrize("what", ATTACKS)
def test_a_machine_that_was_taken_over_is_refused(what: str, outcomes: dict[str, Any]) -> None:
    fault = outcomes[what]
    assert isinstance(fault, Denied | Conflict | Invalid), fault
    print(f"asked for {what}: {type(fault).__name__}: {fault.message[:160]}")


def test_and_nothing_has_changed_and_the_log_tells_of_it(
    outcomes: dict[str, Any], besieged: Besieged
) -> None:
    assert outcomes["unchanged"]
    told = [json.loads(line) for line in besieged.log.splitlines() if '"hv-1"' in line]
    refused = [line for line in told if "refused" in json.dumps(line)]
    assert len(refused) > 20
    assert state_of(besieged) == "Running"


def test_of_hv_2s_machines_it_sees_no_secret(outcomes: dict[str, Any]) -> None:
    row = json.loads(outcomes["vm"].row)
    assert PRIVATE not in str(row)
    assert not {"user_data", "display_name", "public_key", "keypair"} & row.keys()
    assert "fence_options" not in json.loads(outcomes["host"].row)
    assert all(not past.entry.row and not past.by for past in outcomes["history"])


def test_it_is_not_let_in_where_events_are_published(besieged: Besieged) -> None:
    async def events() -> str:
        async with joined(besieged.config) as bus:
            return next(m.events for m in await members(bus) if m.host == "box" and m.events)

    endpoint = asyncio.run(events())
    context: zmq.Context[Any] = zmq.Context()
    knock = Knock(context, endpoint, kind=zmq.SUB, keys=besieged.stolen.keys,
                  server=besieged.controller.keys.public)  # fmt: skip
    until = time.monotonic() + ASKED_S
    while time.monotonic() < until and not knock.heard():
        besieged.cluster.states()
        time.sleep(0.2)
    heard = knock.heard()
    knock.close()
    context.term()
    assert not heard
    assert "hv-1 may not hear the feed" in besieged.log


def test_nobody_listens_to_events_that_it_publishes(besieged: Besieged) -> None:
    air = Air(besieged.config)
    with socket.create_server(("127.0.0.1", 0)) as trap:
        trap.settimeout(0.0)
        port = trap.getsockname()[1]
        own = member(besieged.stolen, "hv-1/evil", events=f"tcp://127.0.0.1:{port}")

        over = threading.Event()

        def claim() -> None:
            while not over.wait(0.3):
                air.say(beacon(besieged.stolen, own, beat=time.monotonic_ns()))

        def known() -> bool:
            return "hv-1/evil" in besieged.cluster.csnode("status", "--output", "json").stdout

        claiming = threading.Thread(target=claim)
        claiming.start()
        try:
            wait_for(known, 20, "the node is known")
            with pytest.raises(BlockingIOError):
                trap.accept()
        finally:
            over.set()
            claiming.join()
            air.close()


def test_answers_that_no_honest_host_gives_hurt_nobody_else(besieged: Besieged) -> None:
    """hv-1's csnode is replaced by one that answers what it likes; hv-2 is served all the time."""
    host = besieged.hosts["hv-1"]
    pid = besieged.cloud.processes[CONTROLLER].pid
    host.end()
    before, size = besieged.log, _resident(pid)
    answered: list[int] = []
    over = threading.Event()

    thread = threading.Thread(target=_impostor, args=(besieged, over, answered))
    thread.start()
    try:
        cs, params = besieged.cluster.api, prepared(besieged.cluster.api)
        jobs = list[str]()

        def enough() -> bool:
            if len(jobs) < BAITS_MAX:
                bait = cs.deployVirtualMachine(**params, networkids=besieged.network)
                jobs.append(bait["jobid"])
            time.sleep(0.3)
            return len(answered) >= len(hostile())

        wait_for(enough, 120, "it has answered everything")
        for _ in range(10):
            made = cs.rebootVirtualMachine(id=besieged.vm, fetch_result=True)["virtualmachine"]
            assert made["state"] == "Running"
        assert state_of(besieged) == "Running"
    finally:
        over.set()
        thread.join()
    grown = _resident(pid) - size
    print(f"\nhostile answers given: {len(answered)}, resident memory grew by {grown} MiB")
    assert all(p.poll() is None for p in besieged.cloud.processes.values())
    said = cs.queryAsyncJobResult(jobid=jobs[0])
    assert len(json.dumps(said)) < 20_000
    tail = besieged.log[len(before) :]
    assert max(map(len, tail.splitlines()), default=0) < 50_000
    assert "\x1b" not in tail
    host.start()
    wait_for(lambda: besieged.cluster.states()["hv-1"] == "Up", 60, "hv-1 is Up again")


def _impostor(besieged: Besieged, over: threading.Event, answered: list[int]) -> None:
    own, places = besieged.host_ids["hv-1"], besieged.stolen.credential.places
    serves = (
        *serving("Compute", own),
        *serving("Networking", own),
        *serving("Storage", *(place for place in places if place != own)),
    )
    trust = besieged.trust(besieged.hosts["hv-1"].folder)
    others = (besieged.controller, besieged.victim)
    air = Air(besieged.config)
    asyncio.run(impersonated(trust, others, serves, air, over, answered))
    air.close()


def _resident(pid: int) -> int:
    """MiB."""
    found = re.search(r"VmRSS:\s+(\d+) kB", Path(f"/proc/{pid}/status").read_text())
    assert found is not None
    return int(found[1]) // 1024
