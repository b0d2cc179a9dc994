"""A cloud without credentials on a machine that others use too: another user gets nothing."""

from __future__ import annotations

import asyncio
import os
import shutil
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from tempfile import mkdtemp
from typing import Any

import pytest
import zmq

from csnode.cli.joined import joined, members
from csnode.config import Config
from csnode.data.store import Store
from csnode.directory.beacon import Beacon, Says, Seal
from csnode.directory.directory import Member, Serving
from csnode.model.identity import User
from csnode.trust.files import Keys
from csnode.types import NodeId
from tests.system.attack import Air, Knock, listening
from tests.system.processes import CSNODE, SPLIT, Cloud

OWNER, OTHER = 54321, 54322  # users that this machine needs not know by name
ASKED_S = 5.0  # longer than a gate waits for a key that it does not know
SECRETS = {"local.key", "key.json", "admin.password", "csnode.db", "csnode.db-wal"}


def become(uid: int) -> list[str]:
    """Begin a command as that user, without any right."""
    return ["setpriv", f"--reuid={uid}", f"--regid={uid}", "--clear-groups", "--inh-caps=-all"]


class Shared:
    """A cloud in four processes of one user, on a machine with another one."""

    def __init__(self) -> None:
        self.folder = Path(mkdtemp(prefix="csnode-users-", dir="/var/tmp"))
        self.folder.chmod(0o755)
        (self.folder / "state").mkdir()
        os.chown(self.folder / "state", OWNER, OWNER)
        self.cloud = Cloud(self.folder)
        self.cloud.before = become(OWNER)

    def csnode(self, *arguments: str, uid: int = 0) -> subprocess.CompletedProcess[str]:
        """A command with the cloud's configuration and no flags, as that user."""
        return subprocess.run(
            [*(become(uid) if uid else ()), str(CSNODE), "--config", str(self.cloud.file),
             *arguments],
            capture_output=True, text=True, timeout=60, check=False, cwd="/",
            env={"PATH": os.environ["PATH"], "HOME": "/", "PYTHONDONTWRITEBYTECODE": "1"},
        )  # fmt: skip


@pytest.fixture(scope="module")
def shared() -> Iterator[Shared]:
    made = Shared()
    try:
        with made.cloud as cloud:
            for roles in SPLIT:
                cloud.start(*roles)
            cloud.wait_ready()
            yield made
    finally:
        shutil.rmtree(made.folder)


def test_processes_of_one_user_find_each_other_without_a_flag(shared: Shared) -> None:
    done = shared.csnode("status", uid=OWNER)
    assert done.returncode == 0, done.stderr
    assert done.stdout.count("box/") == len(SPLIT), done.stdout


def test_root_looks_in_without_a_flag(shared: Shared) -> None:
    done = shared.csnode("status")
    assert done.returncode == 0, done.stderr
    assert done.stdout.count("box/") == len(SPLIT), done.stdout


def test_a_command_of_another_user_is_refused_in_one_line(shared: Shared) -> None:
    for command in (("status",), ("--roles", "orchestrator")):
        done = shared.csnode(*command, uid=OTHER)
        assert done.returncode == 77, (command, done)
        assert done.stderr.count("\n") == 1
        assert f"the keys in {shared.folder}/state/trust are for their owner" in done.stderr


def test_another_users_process_with_a_key_of_its_own_hears_no_node(shared: Shared) -> None:
    place = Path(mkdtemp(prefix="csnode-other-", dir="/var/tmp"))
    try:
        os.chown(place, OTHER, OTHER)
        for loopback in ("key", "open"):
            own = ("--set", f"node.state={place}", "--set", f"trust.loopback={loopback}")
            done = shared.csnode(*own, "status", uid=OTHER)
            assert done.returncode == 69, done
            assert "no node of this cluster can be heard" in done.stderr
    finally:
        shutil.rmtree(place)


def test_another_user_finds_no_secret_to_read(shared: Shared) -> None:
    """Whatever the processes keep in files: keys, rows, and what they write beside them."""
    look = (
        "import os, sys\nfor at, _, names in os.walk(sys.argv[1]):\n"
        " for n in names:\n  f = os.path.join(at, n)\n  if os.access(f, os.R_OK): print(f)\n"
    )
    done = subprocess.run(
        [*become(OTHER), sys.executable, "-c", look, str(shared.folder / "state")],
        capture_output=True, text=True, check=True, cwd="/",
    )  # fmt: skip
    readable = {Path(line).name for line in done.stdout.splitlines()}
    assert not readable & SECRETS, readable


def test_no_port_lets_in_who_has_not_the_key(shared: Shared) -> None:
    """As any program of another user may knock: without keys, with a name, with keys of its own."""

    async def known() -> tuple[list[tuple[str, str]], str]:
        async with joined(Config.read(shared.cloud.file, {}, {})) as bus:
            found = await members(bus)
            return [(m.calls, m.events) for m in found], found[0].key

    endpoints, key = asyncio.run(known())
    ports = {port for _, port in listening(*(p.pid for p in shared.cloud.processes.values()))}
    told = {int(at.rpartition(":")[2]) for pair in endpoints for at in pair}
    assert ports - {shared.cloud.port} == told
    context: zmq.Context[Any] = zmq.Context()
    knocks: list[Knock] = []
    for calls, events in endpoints:
        for endpoint, kind in ((calls, zmq.DEALER), (events, zmq.SUB)):
            knocks += [
                Knock(context, endpoint, kind=kind),
                Knock(context, endpoint, kind=kind, plain=True),
                Knock(context, endpoint, kind=kind, keys=Keys.new(), server=key),
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


def test_beacons_of_another_user_lead_no_call_to_him(shared: Shared) -> None:
    """He says that he serves the rows; those who ask for them go on asking the true data role."""
    config = Config.read(shared.cloud.file, {}, {})
    context: zmq.Context[Any] = zmq.Context()
    evil = context.socket(zmq.ROUTER)
    port = evil.bind_to_random_port("tcp://127.0.0.1")
    liar = Member(
        node=NodeId("box/evil"), cluster=config.node.cluster, incarnation=2**50, number=1,
        host="box", roles=("data",), serves=(Serving(contract="Data"),),
        calls=f"tcp://127.0.0.1:{port}", events="",
    )  # fmt: skip
    air = Air(config)
    try:
        for beat in range(1, 6):
            for seal in (Seal(config.node.cluster), Seal(config.node.cluster, mark=bytes(32))):
                air.say(seal.packed(Beacon(says=Says.HERE, beat=beat, member=liar)))

        async def look() -> tuple[set[str], list[User]]:
            async with joined(config) as bus:
                seen = {str(member.node) for member in await members(bus)}
                return seen, await Store(bus, "", "test").find(User)

        seen, users = asyncio.run(look())
        assert "box/evil" not in seen
        assert [user.name for user in users] == ["admin"]
        assert not evil.poll(0)
    finally:
        air.close()
        context.destroy(linger=0)
