"""A whole cloud in one process: real roles, sagas and data service, simulated hardware.

Run it in virtual time (csnode.testing.loop). What exists outside (machines, networks, disks)
outlives the node, as it would: `crash` loses the process, `start` makes a new one on the same
database and the same hardware.
"""

from __future__ import annotations

import asyncio
import random
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Self

import msgspec

from csnode import uuids
from csnode.api.about import Rank
from csnode.api.call import Caller
from csnode.bus.local import LocalBus
from csnode.clock import now, take_bearings
from csnode.config import Config
from csnode.data.store import Store
from csnode.directory.alone import AloneDirectory
from csnode.model.host import Host, Seen, StoragePool
from csnode.model.identity import Account, User
from csnode.node import Node
from csnode.types import UserId

ADMIN = {"apiKey": "admin", "secret": "admin-secret"}


def sim_config(folder: Path, hosts: int = 3, **sections: Mapping[str, Any]) -> dict[str, Any]:
    """Configure an all-in-one cloud on simulated hosts, without sockets or threads."""
    values: dict[str, dict[str, Any]] = {
        "node": {"host": "sim", "state": str(folder)},
        "bus": {"zeromq": False},
        "data": {"inline": True, "path": str(folder / "csnode.db")},
        "api": {"listen": ""},
        "compute": {"driver": "sim", "hosts": hosts},
        "network": {"driver": "sim", "hosts": hosts},
        "storage": {"driver": "sim", "hosts": hosts},
        "keeper": {"driver": "sim", "hosts": hosts},
        "monitor": {"prober": "sim"},
        "fabric": {
            "admin_password": "password",
            "admin_api_key": ADMIN["apiKey"],
            "admin_secret_key": ADMIN["secret"],
        },
    }
    for name, section in sections.items():
        values[name] = {**values.get(name, {}), **section}
    return values


class SimCloud:
    """Enter it in a virtual world; call the API, wait for jobs, and look at what there is."""

    def __init__(self, config: Mapping[str, Any], seed: int = 0) -> None:
        uuids.source = random.Random(seed)
        self._config = config
        self.node: Node
        self._running: asyncio.Task[None] | None = None

    async def __aenter__(self) -> Self:
        await self.start()
        return self

    async def __aexit__(self, *_: object) -> None:
        if self._running is not None:
            self.node.stop()
            await asyncio.gather(self._running, return_exceptions=True)

    async def start(self) -> None:
        """Start the node, and wait until every host is Up and every pool known."""
        self.node = Node(Config(self._config), bus=LocalBus(AloneDirectory()))
        take_bearings(self.node.cloud.bearings)  # what is asked here is its code too
        self._running = asyncio.create_task(self.node.run())
        async with asyncio.timeout(120):
            while not self.node.ready:
                if self._running.done():
                    await self._running
                await asyncio.sleep(0.01)
            self.store = Store(self.node.bus, "test")
            while not await self._is_whole():
                await asyncio.sleep(0.01)

    async def _is_whole(self) -> bool:
        count = int(self._config["compute"]["hosts"])
        up = [h for h in await self.store.find(Host) if h.seen is Seen.UP]
        pools = await self.store.find(StoragePool)
        reached = sum(1 if pool.host else len(pool.hosts) for pool in pools)
        return len(up) == reached == count

    async def crash(self) -> None:
        """End the process, between one instruction and the next."""
        assert self._running is not None
        self._running.cancel()
        await asyncio.gather(self._running, return_exceptions=True)
        self._running = None

    def role(self, name: str) -> Any:
        """Return the role object of that name."""
        return self.node.roles[name]

    async def ask(self, command: str, **params: str) -> tuple[int, dict[str, Any]]:
        """Make one API call as the admin; return HTTP status, and the body without its wrapper."""
        reply = await self.role("api").answer(
            {"command": command, "response": "json", **params}, caller=self._admin()
        )
        body = msgspec.json.decode(reply.body)
        return reply.status, next(iter(body.values()))

    def _admin(self) -> Caller:
        view = self.role("api").view
        user = next(u for u in view.all(User) if u.name == "admin")
        account = view.get(Account, user.account)
        return Caller(
            user=UserId(user.id),
            account=user.account,
            domain=account.domain,
            rank=Rank.ROOT_ADMIN,
        )

    async def call(self, command: str, **params: str) -> dict[str, Any]:
        """Call as `ask` does, for calls that must succeed."""
        status, answer = await self.ask(command, **params)
        assert status == 200, answer
        return answer

    async def wait(self, job_id: str, seconds: float = 7200) -> dict[str, Any]:
        """Poll the job until it ended; its queryAsyncJobResult answer."""
        until = now() + seconds
        while True:
            answer = await self.call("queryAsyncJobResult", jobid=job_id)
            if answer["jobstatus"] != 0:
                return answer
            assert now() < until, f"job {job_id} does not end: {answer}"
            await asyncio.sleep(0.5)

    async def settle(self, command: str, **params: str) -> dict[str, Any]:
        """Call an asynchronous command and wait for its job."""
        return await self.wait((await self.call(command, **params))["jobid"])
