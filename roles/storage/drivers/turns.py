"""Turns of downloads: so many at once, so many of one account, and a free one to who has fewest."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager

from csnode.types import AccountId, Struct, TemplateId

NAMED_MAX = 5


class Wish(Struct, frozen=False, eq=False):
    """A download that waits for its turn, or has it."""

    template: TemplateId
    account: AccountId | None
    turn: asyncio.Future[None]


class Turns:
    """Of one pool. An account whose downloads take for ever keeps no other from its own."""

    def __init__(self, at_once: int, of_one: int) -> None:
        self._at_once, self._of_one = at_once, of_one
        self._running: list[Wish] = []
        self._waiting: list[Wish] = []

    @asynccontextmanager
    async def taken(self, template: TemplateId, account: AccountId | None) -> AsyncGenerator[None]:
        """Wait for a turn, and have it while the block runs."""
        turn: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        wish = Wish(template=template, account=account, turn=turn)
        self._waiting.append(wish)
        self._give()
        try:
            await turn
            yield
        finally:
            for place in (self._running, self._waiting):
                if wish in place:
                    place.remove(wish)
            self._give()

    def waits(self, template: TemplateId) -> str:
        """Say whom the download of the template waits for; "" if it does not wait.

        Only the account's own are named: what others fetch is not its business.
        """
        wish = next((w for w in self._waiting if w.template == template), None)
        if wish is None:
            return ""
        own = [w.template for w in self._running if w.account == wish.account]
        if len(own) >= self._of_one:
            named = ", ".join(own[:NAMED_MAX])
            return f"Waiting: {len(own)} downloads of this account come first, of templates {named}"
        count = len(self._running)
        return f"Waiting: {count} downloads are under way, {len(own)} of them of this account"

    def _give(self) -> None:
        """Give out the turns that are free: to the account with the fewest, then to the oldest."""
        while len(self._running) < self._at_once:
            has = Counter(w.account for w in self._running)
            free = [w for w in self._waiting if has[w.account] < self._of_one]
            if not free:
                return
            wish = min(free, key=lambda w: has[w.account])
            self._waiting.remove(wish)
            self._running.append(wish)
            if not wish.turn.done():
                wish.turn.set_result(None)
