"""A client as behind a load balancer: each request goes to any api but the one that just failed.

So what one api acknowledged is soon asked of the other.
"""

from __future__ import annotations

import asyncio
import random
from typing import Any

import aiohttp
import msgspec

from csnode.testing.patience import patient
from tests.bench.client import signed
from tests.system.chaos.record import Record, Request, kind_of, now, parsed

PATIENCE_S = 15.0  # longer than csnode's own deadlines, so that refusals are heard
SOON_S = 0.1
SHOWN = 200  # bytes of a page that somebody between answered
FORM = {"Content-Type": "application/x-www-form-urlencoded"}
Endpoints = dict[str, str]  # name: URL


class Client:
    """Numbered; writes down all it does."""

    def __init__(
        self, number: int, endpoints: Endpoints, record: Record, session: aiohttp.ClientSession
    ) -> None:
        self.number = number
        self._endpoints, self._record, self._session = endpoints, record, session
        self._chance = random.Random(number)
        self._failed = ""  # who did not answer the last time

    async def ask(self, command: str, **params: object) -> Request:
        """One request to one api, whatever comes of it."""
        others = [name for name in self._endpoints if name != self._failed]
        name = self._chance.choice(others or list(self._endpoints))
        given = {key: str(value) for key, value in params.items()}
        invoked = now()
        status, answer = await self._sent(self._endpoints[name], command, given)
        kind = kind_of(status)
        self._failed = name if kind == "unknown" else ""
        request = Request(
            client=self.number, at=name, command=command, params=given, invoked=invoked,
            completed=now(), kind=kind, status=status, answer=answer,
        )  # fmt: skip
        self._record.note(request)
        return request

    async def insist(self, command: str, **params: object) -> Request:
        """The same request until somebody answers: for reads, and what is harmless twice."""
        while True:
            request = await self.ask(command, **params)
            if request.kind != "unknown":
                return request
            await asyncio.sleep(SOON_S)

    async def _sent(
        self, url: str, command: str, params: dict[str, str]
    ) -> tuple[int, dict[str, Any]]:
        """By POST: a GET is sent again by aiohttp itself when the connection is lost."""
        form = signed(command=command, **params)
        try:
            async with (
                asyncio.timeout(patient(PATIENCE_S)),
                self._session.post(url, data=form.encode(), headers=FORM) as answer,
            ):
                return _heard(answer.status, await answer.read())
        except (aiohttp.ClientError, TimeoutError) as error:
            return 0, {"errortext": repr(error)}


def _heard(status: int, body: bytes) -> tuple[int, dict[str, Any]]:
    """What was answered; a page that is no answer of an api is none, and is told as it is."""
    try:
        return status, parsed(body)
    except msgspec.DecodeError:
        return 0, {"errortext": f"{status}: {body[:SHOWN].decode(errors='replace')}"}
