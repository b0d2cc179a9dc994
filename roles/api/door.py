"""The door: every request passes here, whatever brought it. Who asks, for what, what he is told."""

from __future__ import annotations

import asyncio
import os
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from typing import Any

from csnode import metrics
from csnode.api.about import Rank
from csnode.api.backlog import Backlog, Crowded
from csnode.api.call import Asked, Call, Caller, Options
from csnode.api.command import Answers, ApiCommand, Declaration
from csnode.api.once import First, Once
from csnode.api.parse import lowered, no_such
from csnode.api.reach import may_see
from csnode.api.refers import check_references
from csnode.api.shelf import Listing, Shelves
from csnode.api.turns import Turns
from csnode.api.view import Shown, encoded, for_rank
from csnode.clock import now
from csnode.data.change import AGAIN_S
from csnode.data.store import Store
from csnode.data.view import View
from csnode.directory.directory import Member
from csnode.faults import (
    Broken,
    Conflict,
    Denied,
    Fault,
    Full,
    NotFound,
    Stale,
    Unavailable,
)  # fmt: skip
from csnode.log import logger
from csnode.model.entity import Entity
from csnode.types import Struct
from csnode.uuids import new_id
from roles.api import envelope, session
from roles.api.authenticate import NOT_VERIFIED, Authenticator, usable
from roles.api.envelope import Away, Reply
from roles.api.history import once_of, record
from roles.api.throttle import Throttle
from roles.api.views.job import GoneView
from roles.api.wording import worded

THREADS = min(4, max(1, (os.cpu_count() or 1) // 2))  # the other half is for those who are known
HEAVY_WAITING = 32  # long requests of one address that wait to be decoded or verified
TRIES = 5  # of a command whose rows moved on while it ran
CANNOT_ASK = (
    "The data service (role data) cannot be reached from this API server, and nothing can be "
    "answered without it. Nothing was changed; please try again."
)
WHO_KNOWS = (
    "The data service (role data) went away while this was being written: it may have been done "
    "or not. Please look, or ask again under the same Idempotency-Key or customid: that is safe."
)
log = logger("api")


class CommitRefused(Exception):
    """The data service refused a commit: a row moved on, or what was free is taken."""

    def __init__(self, fault: Fault) -> None:
        super().__init__(fault)
        self.fault = fault


class Patience:
    """How often a command is run again because its commit was refused."""

    def __init__(self) -> None:
        self._stale, self._looked = TRIES, False

    def is_worth(self, fault: Fault) -> bool:
        """Tell whether to look again: rows may have moved on, or somebody took what was free."""
        if isinstance(fault, Stale):
            self._stale -= 1
            return self._stale > 0
        looked, self._looked = self._looked, True
        return isinstance(fault, Conflict | Full) and not looked


class Ordered(Struct):
    """What the answer of an asynchronous command tells of its job."""

    object_id: str
    id: str


class Door:
    """Answers requests from one view; commits in one store."""

    def __init__(
        self,
        store: Store,
        view: View,
        commands: Mapping[str, Declaration],
        options: Options,
        members: Callable[[], Sequence[Member]] = tuple,
    ) -> None:
        """Make a door.

        `members` are the nodes that the directory knows now, for commands that list them.
        """
        self.store, self.view, self.commands, self.options = store, view, commands, options
        self.shelves = Shelves(view)
        self.backlog = Backlog(view, options.jobs_per_object, options.jobs_per_account)
        self.logins = Turns("login", THREADS, options.logins_waiting)  # 16 MiB and 50 ms each
        self.heavy = Turns("long requests", 1, HEAVY_WAITING)
        self._members = members
        self._who = Authenticator(store, view, options, self.heavy)
        self._throttle = Throttle(options)
        self._counters: dict[tuple[str, int], Any] = {}

    async def answer(
        self,
        received: Mapping[str, str],
        *,
        post: bool = True,
        cookies: Mapping[str, str] | None = None,
        caller: Caller | None = None,
        key: str = "",
        address: str = "",
        foreign: bool = False,
    ) -> Reply:
        """Answer, and never raise. With a `caller` given nobody is asked for credentials.

        `key` is the Idempotency-Key as it was sent; see csnode.api.once. `address` sent the
        request, and it is `foreign` if a page of another site made it.
        """
        began = now()
        params = {lowered(name): value for name, value in received.items()}
        name = received.get("command", "")
        asked = Asked(
            command=name, params=params, post=post, cookies=cookies or {}, key=key,
            address=address, foreign=foreign,
        )  # fmt: skip
        found = self.commands.get(name.lower())
        declared = found if found is not None and found.name == name else None
        rank = caller.rank if caller else None
        try:
            await self._fresh()
            if caller is None:
                self._who.check_begun()
                caller = await self._who.caller(received, asked, declared)
                self._throttle.check(caller, now())
            rank = caller.rank
            reply = await self._with_retries(asked, usable(asked, declared, rank), caller)
        except Fault as fault:
            reply = self._refused(asked, declared, fault, rank)
        except Exception as error:
            log.exception("a request failed", command=name)
            reply = self._refused(asked, declared, Broken("", detail=str(error)), rank)
        self._count(declared.name if declared else "unknown", reply.status)
        metrics.REQUEST_S.observe(now() - began)
        return reply

    def close(self) -> None:
        """Let the threads end."""
        self.logins.close()
        self.heavy.close()

    async def check_known(self, key: str, cookies: Mapping[str, str]) -> None:
        """Refuse who names neither a known API key nor a session. It proves nothing yet, but
        what else is in a long request is not looked at before. Raises Denied and Away.
        """
        await self._fresh()
        self._who.check_begun()
        if not self._who.is_named(key, cookies):
            raise Denied(NOT_VERIFIED, code=401)

    # -- what he asks for --------------------------------------------------------------------

    async def _with_retries(self, asked: Asked, declared: Declaration, caller: Caller) -> Reply:
        """Run the command, again if rows moved on meanwhile; once only if the request is named."""
        request = declared.table.read(asked.params)
        once = once_of(caller, asked, declared)
        patience = Patience()
        while True:
            call = self._call(asked, caller, once)
            if once is not None and (first := once.first(self.view)) is not None:
                body = self._repeated(call, declared, request, first)
                return self._reply(call, declared, body)
            try:
                return await self._run_once(call, declared, request, once)
            except CommitRefused as refused:
                fault, again = refused.fault, patience.is_worth(refused.fault)
            except Fault as refused:
                fault, again = refused, False
            if again or once is not None:
                await self._fresh()  # then the command knows what is taken, or that it was done
            if not again and (once is None or once.first(self.view) is None):
                raise worded(fault, call) from fault

    def _call(self, asked: Asked, caller: Caller, once: Once | None) -> Call:
        return Call(
            caller, asked, self.view,
            self.store.change(new_id()),  # a token, by which it may be asked twice
            self.shelves, self.options, self.logins, self.backlog, once, self._members(),
        )  # fmt: skip

    async def _run_once(
        self, call: Call, declared: Declaration, request: ApiCommand, once: Once | None
    ) -> Reply:
        """Run the command and commit what it wants. Raises CommitRefused if others were faster."""
        try:
            check_references(call, request)
            result = await request.run(call)
            await self._commit(call, declared, result, once)
        except BaseException:
            for job in call.ordered:
                self.backlog.withdraw(job)
            raise
        return self._reply(call, declared, self._body(call, declared, result))

    async def _fresh(self) -> None:
        """Wait for fresh rows: a data service that is started again is away for a second."""
        deadline = now() + self.options.patience_seconds
        while True:
            try:
                return await self.view.fresh()
            except Unavailable as fault:
                if now() + AGAIN_S > deadline:
                    raise Away(CANNOT_ASK, detail=fault.message) from fault
            await asyncio.sleep(AGAIN_S)

    async def _commit(
        self, call: Call, declared: Declaration, result: Any, once: Once | None
    ) -> None:
        """Commit what the command wants, and wait until the view shows it if the answer does."""
        if call.change.items:
            record(call, declared, result, once)
            if once is not None:
                call.change.alone(once.custom_id, once.custom_job)
            try:
                await call.change.commit(self.options.patience_seconds)
            except Unavailable as fault:
                raise Away(WHO_KNOWS, detail=fault.message) from fault
            except (Stale, Conflict, Full) as fault:
                raise CommitRefused(fault) from fault
            if not declared.is_async:
                await self._shown()

    async def _shown(self) -> None:
        try:
            await self._fresh()
        except Away as away:
            raise Away(WHO_KNOWS, detail=away.detail) from away

    def _reply(self, call: Call, declared: Declaration, body: bytes) -> Reply:
        reply = envelope.reply(call.asked.params, declared, body)
        reply.headers.extend(call.headers)
        return reply

    def _repeated(
        self, call: Call, declared: Declaration, request: ApiCommand, first: First
    ) -> bytes:
        """Answer as the first such request was; what it made is shown as it is now."""
        if declared.answers in (Answers.JOB, Answers.CREATED):
            return self._body(call, declared, Ordered(object_id=first.id, id=first.job))
        if declared.answers is Answers.SUCCESS or declared.shows is None:
            return envelope.success(declared.wrapper)
        with suppress(NotFound):  # what it was about has gone too
            if (shown := request.again(call)) is not None:
                return self._body(call, declared, shown)
        row = self.view.maybe(declared.shows.of, first.id)
        if row is not None and not may_see(call.caller, row, self.view):
            raise no_such(declared.name, "id", first.id)
        body = self._made(call, declared, first.id)
        if declared.answers is Answers.LIST:
            return envelope.listing(declared.wrapper, declared.key, Listing(count=1, rows=[body]))
        return envelope.entity(declared.wrapper, declared.key, body)

    def _body(self, call: Call, declared: Declaration, result: Any) -> bytes:
        wrapper, key = declared.wrapper, declared.key
        match declared.answers:
            case Answers.LIST:
                if isinstance(result, Entity):  # registerTemplate lists the one it made
                    result = Listing(count=1, rows=[self._encoded(call, declared, result.id)])
                return envelope.listing(wrapper, key, result)
            case Answers.SUCCESS:
                return envelope.success(wrapper)
            case Answers.JOB:
                return envelope.bare(wrapper, b'{"jobid":"%b"}' % result.id.encode())
            case Answers.CREATED:
                ids = (result.object_id.encode(), result.id.encode())
                return envelope.bare(wrapper, b'{"id":"%b","jobid":"%b"}' % ids)
            case Answers.BARE:
                return envelope.bare(wrapper, encoded(result))
            case Answers.ENTITY:
                if isinstance(result, Shown):
                    return envelope.entity(wrapper, key, for_rank(result, call.caller.rank))
                return envelope.entity(wrapper, key, self._made(call, declared, result.id))

    def _made(self, call: Call, declared: Declaration, id: str) -> bytes:
        """Show what a command made or changed.

        If it has gone since, show but its id: the change was made.
        """
        try:
            return self._encoded(call, declared, id)
        except NotFound:
            return encoded(GoneView(id=id))

    def _encoded(self, call: Call, declared: Declaration, id: str) -> bytes:
        return self.shelves.of(declared.shown).encoded(id, call.caller.rank)

    # -- what he is told ---------------------------------------------------------------------

    def _refused(
        self, asked: Asked, declared: Declaration | None, fault: Fault, rank: Rank | None
    ) -> Reply:
        wrapper = declared.wrapper if declared else "errorresponse"
        if fault.code == 432:
            wrapper = "errorresponse"
        if fault.code == 401 and not asked.command:
            wrapper = "null"
        if fault.detail:
            log.info("refused", command=asked.command, why=fault.message, detail=fault.detail)
        reply = envelope.refusal(asked.params, wrapper, envelope.told(fault, rank))
        if isinstance(fault, Crowded):
            reply.headers.append(("Retry-After", str(fault.after_s)))
        if fault.code == 401 and asked.cookies.get(session.COOKIE):
            reply.headers.extend(session.no_cookie_headers())
        return reply

    def _count(self, command: str, code: int) -> None:
        counter = self._counters.get((command, code))
        if counter is None:
            counter = metrics.REQUESTS.labels(command, str(code))
            self._counters[command, code] = counter
        counter.inc()
