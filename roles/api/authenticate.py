"""Who sends a request, and which commands they may use."""

from __future__ import annotations

from collections.abc import Mapping
from functools import partial
from typing import Any

from csnode.api.about import Rank
from csnode.api.call import NOBODY, Asked, Caller, Options
from csnode.api.command import Declaration
from csnode.api.parse import BY_SERVER
from csnode.api.turns import Turns
from csnode.clock import own_wall
from csnode.data.store import Store
from csnode.data.view import View
from csnode.faults import Denied, Invalid
from csnode.model.entity import Entity
from csnode.model.identity import Account, AccountType, Standing, User
from roles.api import session, sign, site
from roles.api.envelope import Away
from roles.api.form import SMALL

RANKS = {
    AccountType.USER: Rank.USER,
    AccountType.DOMAIN_ADMIN: Rank.DOMAIN_ADMIN,
    AccountType.ROOT_ADMIN: Rank.ROOT_ADMIN,
}
NO_USER = (
    "This cloud is only beginning: its first user is not there yet, so nobody can be known. "
    "Please try again in a moment."
)
NOT_VERIFIED = "unable to verify user credentials and/or request signature"


class Authenticator:
    """Knows users by their keys and sessions. The door has one."""

    def __init__(self, store: Store, view: View, options: Options, heavy: Turns) -> None:
        """Make an authenticator; `heavy` verifies the signatures of long requests."""
        self._store, self._view, self._options, self._heavy = store, view, options, heavy

    def check_begun(self) -> None:
        """Refuse everybody as too early, and not as unknown, before the first user is there."""
        if not self._view.size(User):
            raise Away(NO_USER, code=503)

    async def caller(
        self, received: Mapping[str, str], asked: Asked, declared: Declaration | None
    ) -> Caller:
        """Find out who sent a request. Raises Denied if nothing in it proves that."""
        is_open = declared is not None and declared.open
        key = asked.params.get("apikey")
        if asked.foreign and (is_open or not key):  # else the signature says who meant it
            raise Denied(site.FOREIGN)
        if is_open:
            return NOBODY
        if key:
            return await self._by_key(received, asked, key)
        if asked.cookies.get(session.COOKIE):
            held = await session.use(self._store, self._view, asked, self._options.session_seconds)
            user = self._view.maybe(User, held.user)
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
        if not (await self._heavy.take(asked.address, key, verify) if is_long else verify()):
            raise Denied(NOT_VERIFIED, code=401)
        return self._acting(user)

    def _keyed(self, key: str) -> User | None:
        """Find the user of an API key who may act."""
        users = self._view.by(User, "api_key", key)
        user = users[0] if users else None
        return user if user is not None and user.secret_key and self._may_act(user) else None

    def is_named(self, key: str, cookies: Mapping[str, str]) -> bool:
        """Tell whether there is such an API key, or such a session. It proves nothing yet."""
        asked = Asked(cookies=cookies)
        return self._keyed(key) is not None or session.find(self._view, asked) is not None

    def _may_act(self, user: User) -> bool:
        account = self._view.maybe(Account, user.account)
        enabled = Standing.ENABLED
        return account is not None and user.standing is enabled and account.standing is enabled

    def _acting(self, user: User) -> Caller:
        account = self._view.get(Account, user.account)
        return Caller(
            user=_id(user), account=_id(account), domain=account.domain, rank=RANKS[account.type]
        )


def usable(asked: Asked, declared: Declaration | None, rank: Rank) -> Declaration:
    """Return the command if the rank may use it. Raises as CloudStack does, case by case."""
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
    return declared


def _id(row: Entity) -> Any:
    """Return a row's id as its own type."""
    return row.id
