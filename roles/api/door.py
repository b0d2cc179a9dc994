"""The door: every request passes here, whatever brought it. Who asks, for what, what he is told."""

from __future__ import annotations

import asyncio
import os
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from functools import partial
from typing import Any

from csnode import metrics
from csnode.api.about import Rank
from csnode.api.backlog import Backlog, Crowded
from csnode.api.call import NOBODY, Asked, Call, Caller, Options
from csnode.api.command import Answers, ApiCommand, Declaration
from csnode.api.once import First, Once
from csnode.api.parse import BY_SERVER, lowered, no_such
from csnode.api.reach import may_see
from csnode.api.refers import check_references
from csnode.api.shelf import Listing, Shelves
from csnode.api.turns import Turns
from csnode.api.view import Shown, encoded, for_rank
from csnode.clock import now, own_wall
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
    Invalid,
    NotFound,
    Stale,
    Unavailable,
)  # fmt: skip
from csnode.log import logger
from csnode.model.entity import Entity
from csnode.model.identity import Account, AccountType, Standing, User
from csnode.types import Struct
from csnode.uuids import new_id
from roles.api import envelope, session, sign, site
from roles.api.envelope import Away, Reply
from roles.api.form import SMALL
from roles.api.history import once_of, record
from roles.api.throttle import Throttle
from roles.api.views.job import GoneView
from roles.api.wording import worded

THREADS = min(4, max(1, (os.cpu_count() or 1) // 2))  # the other half is for those who are known
HEAVY_WAITING = 32  # long requests of one address that wait to be decoded or verified
TRIES = 5  # of a command whose rows moved on while it ran
RANKS = {
    AccountType.USER: Rank.USER,
    AccountType.DOMAIN_ADMIN: Rank.DOMAIN_ADMIN,
    AccountType.ROOT_ADMIN: Rank.ROOT_ADMIN,
}
CANNOT_ASK = (
    "The data service (role data) cannot be reached from this API server, and nothing can be "
    "answered without it. Nothing was changed; please try again."
)
WHO_KNOWS = (
    "The data service (role data) went away while this was being written: it may have been done "
    "or not. Please look, or ask again under the same Idempotency-Key or customid: that is safe."
)
NO_USER = (
    "This cloud is only beginning: its first user is not there yet, so nobody can be known. "
    "Please try again in a moment."
)
NOT_VERIFIED = "unable to verify user credentials and/or request signature"
log = logger("api")


class Patience:
    """How often a command is run again because its commit was refused."""

    def __init__(self) -> None:
        self._stale, self._looked = TRIES, False

    def is_worth(self, fault: Fault) -> bool:
        """Whether to look again: rows may have moved on, or somebody took what was free."""
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
        self, store: Store, view: View, commands: Mapping[str, Declaration], options: Options
    ) -> None:
        self.store, self.view, self.commands, self.options = store, view, commands, options
        self.shelves = Shelves(view)
        self.backlog = Backlog(view, options.jobs_per_object, options.jobs_per_account)
        self.nodes: Callable[[], Sequence[Member]] = tuple  # who is there, for those who ask
        self.logins = Turns("login", THREADS, options.logins_waiting)  # 16 MiB and 50 ms each
        self.heavy = Turns("long requests", 1, HEAVY_WAITING)
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
        """Never raises. With a `caller` given nobody is asked for credentials.

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
                self._check_begun()
                caller = await self._caller(received, asked, declared)
                self._throttle.check(caller, now())
            rank = caller.rank
            self._check(asked, declared, rank)
            reply = await self._perform(asked, declared, caller)
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

    # -- who asks ----------------------------------------------------------------------------

    def _check_begun(self) -> None:
        """Refuse everybody as too early, and not as unknown, before the first user is there."""
        if not self.view.size(User):
            raise Away(NO_USER, code=503)

    async def _caller(
        self, received: Mapping[str, str], asked: Asked, declared: Declaration | None
    ) -> Caller:
        is_open = declared is not None and declared.open
        key = asked.params.get("apikey")
        if asked.foreign and (is_open or not key):  # else the signature says who meant it
            raise Denied(site.FOREIGN)
        if is_open:
            return NOBODY
        if key:
            return await self._by_key(received, asked, key)
        if asked.cookies.get(session.COOKIE):
            held = await session.use(self.store, self.view, asked, self.options.session_seconds)
            user = self.view.maybe(User, held.user)
            if user is None or not self._may_act(user):
                raise Denied("unable to verify user credentials", code=401)
            return self._acting(user)
        raise Denied(NOT_VERIFIED, code=401)

    async def _by_key(self, received: Mapping[str, str], asked: Asked, key: str) -> Caller:
        user = self._keyed(key)
        if user is None or not sign.current(asked.params, own_wall()):
            raise Denied(NOT_VERIFIED, code=401)
        verify = partial(sign.verified, received, user.secret_key)
        is_long = sum(map(len, received.values())) > SMALL
        if not (await self.heavy.take(asked.address, key, verify) if is_long else verify()):
            raise Denied(NOT_VERIFIED, code=401)
        return self._acting(user)

    def _keyed(self, key: str) -> User | None:
        """Find the user of an API key who may act."""
        users = self.view.by(User, "api_key", key)
        user = users[0] if users else None
        return user if user is not None and user.secret_key and self._may_act(user) else None

    async def check_known(self, key: str, cookies: Mapping[str, str]) -> None:
        """Refuse who names neither a known API key nor a session. It proves nothing yet, but
        what else is in a long request is not looked at before. Raises Denied and Away.
        """
        await self._fresh()
        self._check_begun()
        asked = Asked(cookies=cookies)
        if self._keyed(key) is None and session.find(self.view, asked) is None:
            raise Denied(NOT_VERIFIED, code=401)

    def _may_act(self, user: User) -> bool:
        account = self.view.maybe(Account, user.account)
        enabled = Standing.ENABLED
        return account is not None and user.standing is enabled and account.standing is enabled

    def _acting(self, user: User) -> Caller:
        account = self.view.get(Account, user.account)
        return Caller(
            user=_id(user), account=_id(account), domain=account.domain, rank=RANKS[account.type]
        )

    def _check(self, asked: Asked, declared: Declaration | None, rank: Rank) -> None:
        """Whether there is such a command for him; the texts are the server's, case by case."""
        name, by_key = asked.command, bool(asked.params.get("apikey"))
        if declared is None:
            if not name:
                raise Denied(NOT_VERIFIED if by_key else "no command specified",
                             code=401 if by_key else 400, cs=BY_SERVER)  # fmt: skip
            if by_key:
                raise Denied(
                    f"The given command '{name}' either does not exist, is not available for user.",
                    code=401,
                )
            if rank is Rank.ROOT_ADMIN:
                raise Invalid(f"Unknown API command: {name}", code=432, cs=BY_SERVER)
        if declared is None or rank < declared.allows:
            raise Denied(
                f"The API {name} does not exist or is not available for this account.",
                code=432,
                cs=BY_SERVER,
            )

    # -- what he asks for --------------------------------------------------------------------

    async def _perform(self, asked: Asked, declared: Declaration | None, caller: Caller) -> Reply:
        """Run the command, again if rows moved on meanwhile; once only if the request is named."""
        assert declared is not None  # _check saw to it
        request = declared.table.read(asked.params)
        once = once_of(caller, asked, declared)
        patience = Patience()
        while True:
            change = self.store.change(new_id())  # by which it may be asked twice
            call = Call(caller, asked, self.view, change, self.shelves, self.options, once,
                         self.logins)  # fmt: skip
            call.nodes, call.backlog = self.nodes(), self.backlog
            if once is not None and (first := once.first(self.view)) is not None:
                body = self._repeated(call, declared, request, first)
                return self._reply(call, declared, body)
            committing = done = False
            try:
                check_references(call, request)
                result = await request.run(call)
                committing = True
                await self._commit(call, declared, result, once)
                done = True
                return self._reply(call, declared, self._body(call, declared, result))
            except Fault as fault:
                again = committing and patience.is_worth(fault)
                if not again and once is None:
                    raise worded(fault, call) from fault
                await self._fresh()  # then the command knows what is taken, or that it was done
                if not again and once is not None and once.first(self.view) is None:
                    raise worded(fault, call) from fault
            finally:
                for job in () if done else call.ordered:
                    self.backlog.withdraw(job)

    async def _fresh(self) -> None:
        """A data service that is started again is away for a second: so wait for it."""
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
        """Then wait until it shows in the view, unless the answer is but the id of a job."""
        if call.change.items:
            record(call, declared, result, once)
            if once is not None:
                call.change.alone(once.custom_id, once.custom_job)
            try:
                await call.change.commit(self.options.patience_seconds)
            except Unavailable as fault:
                raise Away(WHO_KNOWS, detail=fault.message) from fault
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
        """The answer of the first such request; what it made is shown as it is now."""
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
        """What a command made or changed; but its id if it has gone since: the change was made."""
        try:
            return self._encoded(call, declared, id)
        except NotFound:
            return encoded(GoneView(id=id))

    def _encoded(self, call: Call, declared: Declaration, id: str) -> bytes:
        assert declared.shows is not None  # it shows what its run made
        return self.shelves.of(declared.shows).encoded(id, call.caller.rank)

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


def _id(row: Entity) -> Any:
    """A row's id as its own type."""
    return row.id
