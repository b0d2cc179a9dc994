"""The api role: the CloudStack API over HTTP.

Serves HTTP at [api] listen. Writes intents, orders, sessions and user events. Owns nothing: any
number of apis may run, and each answers from its own view.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from contextlib import AsyncExitStack

from csnode.api.call import Caller
from csnode.api.command import kinds_needed, load_commands
from csnode.clock import wall
from csnode.data.view import View
from csnode.health import health_routes
from csnode.model.event import UserEvent
from csnode.model.host import Host, Retired, StoragePool
from csnode.model.identity import Account, Domain, Session, User
from csnode.model.job import Cancel, Job
from csnode.model.network import Network, Nic
from csnode.model.offering import DiskOffering, NetworkOffering, Offering, OsType
from csnode.model.place import Cluster, Pod, Zone
from csnode.model.stock import Range, Tally
from csnode.model.template import Template
from csnode.model.vm import Vm
from csnode.model.volume import Volume
from csnode.role import Opened, Role, every
from roles.api import session
from roles.api.config import ApiConfig
from roles.api.door import Door
from roles.api.envelope import Reply
from roles.api.http import Http, Routes, serving
from roles.api.retention import sweep_events

KINDS = (
    Zone, Pod, Cluster, Host, StoragePool, Offering, DiskOffering, NetworkOffering, OsType,
    Template, Network, Nic, Volume, Vm, Job, Cancel, UserEvent, User, Account, Domain, Session,
    Tally, Range, Retired,
)  # fmt: skip


class ApiRole(Role[ApiConfig]):
    """Any number, anywhere."""

    name = "api"
    port = 0  # bound, once open

    async def opened(self) -> Opened:
        commands = load_commands()
        more = sorted(kinds_needed() - set(KINDS), key=lambda kind: kind.kind)
        self.view = View(self.store, (*KINDS, *more))
        async with AsyncExitStack() as stack:
            stack.callback(self.view.close)
            await self.view.open()
            members = self.bus.directory.members
            self.door = Door(self.store, self.view, commands, self.config, members)
            self.http = Http(self.door, self.config)
            stack.callback(self.door.close)
            if self.config.listen:
                self.port = await stack.enter_async_context(
                    serving(self.http, self._health_routes())
                )
            yield

    async def answer(
        self,
        params: Mapping[str, str],
        *,
        caller: Caller | None = None,
        post: bool = True,
        cookies: Mapping[str, str] | None = None,
        key: str = "",
    ) -> Reply:
        """Answer as the door under HTTP: with status, headers and body for parameters as received.

        With a `caller` the request needs no credentials; without, it is checked like any other.
        `key` is its Idempotency-Key.
        """
        return await self.door.answer(params, caller=caller, post=post, cookies=cookies, key=key)

    @every(seconds=60)
    async def forget_sessions(self) -> None:
        """End sessions, whether or not their owners come back."""
        await session.sweep(self.store, self.view)

    @every(seconds=3600)
    async def forget_events(self) -> None:
        """Bound what listEvents reaches back, in days and in lines."""
        config = self.config
        days, most = config.event_keep_days, config.events_max
        await sweep_events(self.store, self.view, days, most, wall())

    @every(seconds=60)
    async def bound_events(self) -> None:
        """Keep a busy hour from leaving many times as many lines as are to be kept."""
        if self.view.size(UserEvent) > self.config.events_max * 11 // 10:
            await self.forget_events()

    async def drain(self) -> None:
        if self.config.listen:
            await self.http.drain()

    def troubles(self) -> Sequence[str]:
        if not hasattr(self, "view") or not self.view.opened:
            return ("the view is not filled yet",)
        if not self.view.size(User):  # every call would be refused, rightly signed or not
            return ("there is no user yet: the fabric role makes the first",)
        return ()

    def _health_routes(self) -> Routes:
        return health_routes(self.health) if self.health is not None else []
