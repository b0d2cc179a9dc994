"""A cloud under attack from its network: all is refused and logged, and changes nothing."""

from __future__ import annotations

import asyncio
import json
import os
import re
import socket
import statistics
import threading
import time
from collections.abc import Awaitable
from contextlib import suppress
from pathlib import Path
from typing import Any

import msgspec
import zmq
from msgspec.structs import replace

from csnode.bus.bus import Bus
from csnode.bus.zeromq import ZmqBus
from csnode.cli import join as joining
from csnode.cli.joined import joined, members
from csnode.cli.token import Token, key_of
from csnode.config import BusConfig
from csnode.contracts.data import Commit, Data, Delete
from csnode.contracts.fabric import Fabric
from csnode.contracts.membership import Invitation, Membership, Renewal
from csnode.directory.alone import AloneDirectory, Meeting
from csnode.directory.beacon import Seal
from csnode.faults import Conflict, Denied, Fault, Invalid
from csnode.trust.credential import signed
from csnode.trust.files import Keys
from csnode.trust.trust import Trust
from csnode.types import HostId, NodeId
from tests.system.attack import (
    GREETING,
    Air,
    Knock,
    answer_to,
    beacon,
    listening,
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
from tests.system.processes import SECRET, wait_for
from tests.system.test_join import CONTROL, run

__all__ = ["besieged"]


# -- somebody on the network ------------------------------------------------------------------


def test_a_stranger_gets_nothing_from_any_port_but_a_greeting(besieged: Besieged) -> None:
    pids = [p.pid for p in besieged.cloud.processes.values()]
    pids += [p.pid for m in besieged.hosts.values() for p in m.processes]
    ports = {port for port in listening(*pids) if port[1] != besieged.cloud.port}
    assert len(ports) >= 6, ports  # calls and events, of three machines
    plain = b"\xff" + bytes(8) + b"\x7f\x03\x00PLAIN" + bytes(15 + 32)
    null = b"\xff" + bytes(8) + b"\x7f\x03\x00NULL" + bytes(16 + 32)
    curve = b"\xff" + bytes(8) + b"\x7f\x03\x01CURVE" + bytes(15 + 32)
    words = (
        os.urandom(4000),
        b"GET / HTTP/1.1\r\nHost: x\r\n\r\n",
        null + b"\x04\x19\x05READY\x0bSocket-Type\x00\x00\x00\x06DEALER",
        plain + b"\x04\x13\x05HELLO\x05admin\x05admin",
        curve + b"\x04\xc8\x05HELLO\x01\x00" + bytes(193),
        curve + b"\x06" + (2**62).to_bytes(8, "big") + b"\x05HELLO",
    )
    said: dict[tuple[str, int], list[int]] = {}

    def try_all(port: tuple[str, int]) -> None:
        said[port] = [len(answer_to(port, word)) for word in words]

    threads = [threading.Thread(target=try_all, args=(port,)) for port in ports]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    health = {p for p, sizes in said.items() if sizes[1] > GREETING}
    assert not health, said
    assert all(size <= GREETING for sizes in said.values() for size in sizes), said


def test_a_client_without_a_key_of_the_cluster_is_never_let_in(besieged: Besieged) -> None:
    async def endpoints() -> list[tuple[str, str]]:
        async with joined(besieged.config) as bus:
            return [(m.calls, m.events) for m in await members(bus) if m.calls]

    before, known = besieged.log, asyncio.run(endpoints())
    assert len(known) >= 3
    key = besieged.controller.keys.public
    context: zmq.Context[Any] = zmq.Context()
    knocks: list[Knock] = []
    for calls, events in known:
        for endpoint, kind in ((calls, zmq.DEALER), (events, zmq.SUB)):
            knocks += [
                Knock(context, endpoint, kind=kind),
                Knock(context, endpoint, kind=kind, plain=True),
                Knock(context, endpoint, kind=kind, keys=Keys.new(), server=key),
                Knock(context, endpoint, kind=kind, keys=Keys.new(), server=Keys.new().public),
            ]
    until = time.monotonic() + ASKED_S
    let_in: list[Knock] = []
    while time.monotonic() < until and not let_in:
        let_in = [knock for knock in knocks if knock.heard()]
        time.sleep(0.1)
    for knock in knocks:
        knock.close()
    context.term()
    assert not let_in
    assert "connection refused" in besieged.log[len(before) :]


def test_beacons_that_are_not_what_they_say_are_refused(besieged: Besieged, tmp_path: Path) -> None:
    """A machine of a cluster of the same name, a false credential, and old or changed beacons."""
    air = Air(besieged.config)
    try:
        _say_falsehoods(besieged, air, tmp_path)
    finally:
        air.close()


def _say_falsehoods(besieged: Besieged, air: Air, folder: Path) -> None:
    cluster = besieged.controller.credential.cluster
    hv1, hv2 = besieged.stolen, besieged.victim
    before, rows = besieged.log, besieged.rows()
    # Another cluster of the same name, and a credential for which it vouches.
    done = run("--set", f"node.cluster={cluster}", "--set", "node.host=evil",
               "--set", f"node.state={folder}/state", "cluster", "init")  # fmt: skip
    assert done.returncode == 0, done.stderr
    other = besieged.trust(folder)
    air.say(beacon(other, member(other, "evil/one", serves=serving("Data"))))
    # The machine's own credential with more written into it.
    own = hv1.credential
    more = replace(own, roles=("data", *own.roles), serial=99)
    forged = replace(hv1.signed, body=msgspec.msgpack.encode(more))
    data = member(hv1, "hv-1/evil", serves=serving("Data"), roles=("data",))
    for false in (forged, signed(more, other.authority or _never())):
        liar = Trust(folder, hv1.keys, hv1.signed, hv1.cluster_keys, None)
        liar.signed = false
        air.say(beacon(liar, data))
    # What its credential does not allow.
    for node, claims in (
        ("hv-1/evil", {"serves": serving("Data"), "roles": ("compute",)}),
        ("hv-1/evil", {"serves": serving("Fabric")}),
        ("hv-1/evil", {"serves": serving("Compute", besieged.host_ids["hv-2"])}),
        ("hv-1/evil", {"serves": serving("Storage", besieged.pool())}),
        ("hv-1/evil", {"serves": serving("Compute")}),
        ("hv-1/evil", {"roles": ("orchestrator",)}),
        ("hv-2/evil", {}),
        ("box/evil", {"serves": serving("Data"), "roles": ("data",)}),
        ("hv-1/evil", {"key": hv2.keys.public}),
        ("hv-1/evil", {"host": "hv-2"}),
        ("hv-1/evil", {"calls": "tcp://slow.example.com:9"}),
        ("hv-1/evil", {"events": "inproc://zeromq.zap.01"}),
    ):
        air.say(beacon(hv1, member(hv1, node, **claims)))
    # Its own beacon, changed in one byte; and one of hv-2 that is sent again.
    mine = bytearray(beacon(hv1, member(hv1, "hv-1/evil")))
    mine[-1] ^= 1
    air.say(bytes(mine))
    captured = air.captured(Seal(cluster, hv2), "hv-2")
    for _ in range(3):
        air.say(captured)
    air.say(os.urandom(1000))
    air.say(b"\x02" + b"\x93\x90" + b"\x91" * 60_000 + b"\xc0")

    def refused() -> int:
        lines = [line for line in besieged.log[len(before) :].splitlines() if "refused" in line]
        return len({why for line in lines if (why := json.loads(line).get("why"))})

    try:
        wait_for(lambda: refused() >= 10, 10, "each is told of in the log")
    except AssertionError:
        print(besieged.log[len(before) :])
        raise
    status = besieged.cluster.csnode("status", "--output", "json").stdout
    assert "evil" not in status
    assert "Traceback" not in besieged.log[len(before) :]
    assert besieged.rows() == rows


def _never() -> Any:
    raise AssertionError("a founded cluster has its key")


def test_a_token_is_good_for_joining_and_nothing_else(besieged: Besieged) -> None:
    token = Token.read(besieged.cluster.token())
    rows = besieged.rows()

    async def attempts() -> dict[str, str]:
        meeting, found = Meeting(), dict[str, str]()
        for number, door in enumerate(token.doors):
            node = NodeId(f"door/{number}")
            known = joining._member(token, number, door)
            everything = ("Membership", "Data", "Fabric")
            meeting.members[node] = replace(
                known, serves=tuple(s for name in everything for s in serving(name))
            )
        async with ZmqBus(BusConfig(), AloneDirectory(meeting), keys=key_of(token)) as bus:
            keys = Keys.new()
            membership, data = bus.ask(Membership), bus.ask(Data)
            wanted: dict[str, Awaitable[Any]] = {
                "read": data.find("user", {}, "", 10),
                "write": data.commit(Commit(changes=(Delete(kind="vm", id=besieged.vm),))),
                "feed": data.feed(0, ("vm",), 10),
                "fence": bus.ask(Fabric).fence(HostId(besieged.host_ids["hv-2"])),
                "invite": membership.invite(Invitation(key=keys.public, roles=("fabric",), uses=9)),
                "evict": membership.evict("hv-2"),
                "seats": membership.seats(),
                "renew": membership.renew(
                    Renewal(name="hv-2", key=keys.public, verify=keys.verify)
                ),
                "a name that is taken": membership.join(request_of("hv-2", keys)),
                "a key that is hv-2's": membership.join(
                    request_of("hv-9", keys, key=besieged.victim.keys.public)
                ),
                "no key at all": membership.join(request_of("hv-9", keys, key="x" * 1000)),
                "an address that is none": membership.join(
                    request_of("hv-9", keys, address="\x1b[2J")
                ),
            }
            for name, attempt in wanted.items():
                try:
                    found[name] = f"answered: {await attempt!r}"
                except (Denied, Conflict, Invalid) as fault:
                    found[name] = type(fault).__name__
            return found

    found = asyncio.run(attempts())
    assert not {name: how for name, how in found.items() if how.startswith("answered")}
    assert besieged.rows() == rows


def test_the_api_answers_while_thousands_knock_in_vain(besieged: Besieged) -> None:
    """A figure: 5,000 connections, of every wrong kind, while the API is asked."""
    pids = [p.pid for p in besieged.cloud.processes.values()]
    ports = sorted(p for p in listening(*pids) if p[1] != besieged.cloud.port)
    over, done = threading.Event(), [0]
    curve = b"\xff" + bytes(8) + b"\x7f\x03\x01CURVE" + bytes(15 + 32)

    def flood(number: int) -> None:
        open_: list[socket.socket] = []
        while done[0] < 5000:
            done[0] += 1
            with suppress(OSError):
                line = socket.create_connection(ports[done[0] % len(ports)], 2)
                line.sendall((os.urandom(100), curve, b"")[done[0] % 3])
                open_.append(line)
            if len(open_) > 200:
                open_.pop(0).close()
        for line in open_:
            line.close()
        del number

    threads = [threading.Thread(target=flood, args=(n,)) for n in range(4)]
    times: list[float] = []
    for thread in threads:
        thread.start()
    while any(thread.is_alive() for thread in threads) or len(times) < 100:
        began = time.monotonic()
        besieged.cluster.api.listVirtualMachines()
        times.append(time.monotonic() - began)
    over.set()
    p99 = statistics.quantiles(times, n=100)[98] * 1000
    print(f"\n{done[0]} bad connects; {len(times)} calls, median "
          f"{statistics.median(times) * 1000:.1f} ms, p99 {p99:.1f} ms")  # fmt: skip
    assert besieged.cluster.states() == {"hv-1": "Up", "hv-2": "Up"}


# -- secrets ----------------------------------------------------------------------------------


def test_secrets_are_in_no_log_no_answer_and_no_file_that_others_may_read(
    besieged: Besieged,
) -> None:
    cluster, cs = besieged.cluster, besieged.cluster.api
    secrets = {"the admin's key": SECRET}
    for token in besieged.tokens:
        secrets[f"token {len(secrets)}"] = token
    for trust in (besieged.controller, besieged.victim, besieged.stolen):
        kept = json.loads((trust.folder / "key.json").read_text())
        secrets |= {f"{trust.credential.name}: {name}": text for name, text in kept.items()}
    secrets["authority"] = (besieged.controller.folder / "authority.key").read_text().strip()
    shown = {
        "controller's log": besieged.log,
        "config show": cluster.csnode("config", "show").stdout,
        "status": cluster.csnode("status", "--output", "json").stdout,
        "node list": cluster.csnode("node", "list", "--output", "json").stdout,
        "token list": cluster.csnode("token", "list", "--output", "json").stdout,
        "why vm": cluster.csnode("why", besieged.vm, "--output", "json").stdout,
        "why host": cluster.csnode("why", besieged.host_ids["hv-2"], "--output", "json").stdout,
        "listHosts": json.dumps(cs.listHosts()),
        "listVirtualMachines": json.dumps(cs.listVirtualMachines(details="all")),
        **{f"{n}'s log": (m.folder / "log").read_text() for n, m in besieged.hosts.items()},
    }
    found = [(where, what) for where, text in shown.items()
             for what, secret in secrets.items() if secret in text]  # fmt: skip
    assert not found
    assert PRIVATE not in shown["why vm"] + shown["controller's log"]


def test_files_that_hold_secrets_are_their_owners_only(besieged: Besieged) -> None:
    folders = (besieged.cloud.folder, *(m.folder for m in besieged.hosts.values()))
    readable: list[str] = []
    for folder in folders:
        trust = folder / "state/trust"
        assert trust.stat().st_mode & 0o077 == 0
        assert (trust / "authority.key").exists() == (folder == besieged.cloud.folder)
        readable += [
            str(file) for file in (folder / "state").rglob("*")
            if re.search(r"\.db|\.key$|key\.json|sqlite", file.name)
            and file.is_file() and file.stat().st_mode & 0o077
            and file.name != "cluster.keys" and not _shut(file, folder)
        ]  # fmt: skip
    assert not readable


def _shut(file: Path, top: Path) -> bool:
    """Whether a folder on the way keeps others out."""
    parents = [p for p in file.parents if p != top and top in p.parents]
    return any(p.stat().st_mode & 0o077 == 0 for p in parents)


# -- an evicted machine: last, for it is gone afterwards -------------------------------------------


def test_an_evicted_machine_is_refused_everywhere_and_after_restarts_too(
    besieged: Besieged, tmp_path: Path
) -> None:
    cluster = besieged.cluster
    hv1 = besieged.stolen
    air = Air(besieged.config)

    async def ask(bus: Bus) -> str:
        try:
            await bus.ask(Data).find("zone", {}, "", 10)
        except Fault as fault:
            return type(fault).__name__
        return "answered"

    async def standing() -> list[str]:
        async with joined(besieged.config) as bus:
            await members(bus)
            said = [await ask(bus)]
            done = await asyncio.to_thread(cluster.csnode, "node", "evict", "hv-1")
            assert done.returncode == 0, done.stderr
            return [*said, await ask(bus), await ask(bus)]

    async def anew() -> str:
        async with joined(besieged.config) as bus:
            await asyncio.sleep(1.5)
            return await ask(bus)

    try:
        first, *later = asyncio.run(standing())
        assert first == "answered"
        assert set(later) <= {"Denied", "Unavailable"}
        assert asyncio.run(anew()) in ("Denied", "Unavailable")
        besieged.cloud.kill(CONTROLLER)
        besieged.cloud.start(*CONTROL)
        air.say(beacon(hv1, member(hv1, "hv-1/evil"), beat=1))
        besieged.cloud.wait_ready()
        air.say(beacon(hv1, member(hv1, "hv-1/evil"), beat=2))
        assert asyncio.run(anew()) in ("Denied", "Unavailable")
        assert "evil" not in cluster.csnode("status", "--output", "json").stdout
        assert "hv-1 was put out of the cluster" in besieged.log
        assert state_of(besieged) == "Running"
    finally:
        air.close()
