"""A small client of the CloudStack API: signed requests, and jobs waited for.

The signature is CloudStack's: HMAC-SHA1 over the sorted, encoded, lower-cased parameters.
"""

from __future__ import annotations

import asyncio
import base64
import hashlib
import hmac
from collections.abc import Awaitable, Callable, Mapping
from typing import Any
from urllib.parse import quote

import aiohttp

from csnode.faults import Refused, Unavailable

POLL_S = 0.1
Watch = Callable[[str], Awaitable[None]]


class Client:
    """Calls one API endpoint with one pair of keys."""

    def __init__(self, session: aiohttp.ClientSession, url: str, key: str, secret: str) -> None:
        self.url, self.key, self.secret = url, key, secret
        self._session = session

    async def call(self, command: str, **parameters: object) -> dict[str, Any]:
        """Send a command, and return what is inside the answer's wrapper.

        Raises Refused with the API's own text and code.
        """
        params = {k: str(v) for k, v in parameters.items()}
        params |= {"command": command, "response": "json", "apiKey": self.key}
        params["signature"] = signature(params, self.secret)
        try:
            async with self._session.post(self.url, data=params) as answer:
                body: dict[str, dict[str, Any]] = await answer.json()
        except aiohttp.ClientError as error:
            raise Unavailable(f"{command}: {self.url} does not answer ({error})") from error
        inner = next(iter(body.values()))
        if answer.status != 200:
            raise Refused(f"{command}: {inner.get('errortext')}", code=answer.status)
        return inner

    async def work(
        self, command: str, parameters: Mapping[str, object], watch: Watch | None = None
    ) -> Any:
        """Call an asynchronous command and wait for its job's result, telling `watch` its id.

        Raises Refused with the cause if the job fails.
        """
        job = str((await self.call(command, **parameters))["jobid"])
        while True:
            found = await self.call("queryAsyncJobResult", jobid=job)
            if watch is not None:
                await watch(job)
            match found["jobstatus"]:
                case 1:  # it ended well
                    return found.get("jobresult")
                case 2:  # it failed
                    raise Refused(f"{command}: {found['jobresult'].get('errortext')}")
                case _:
                    await asyncio.sleep(POLL_S)


def signature(params: dict[str, str], secret: str) -> str:
    """Return what the API expects in `signature` for these parameters."""
    pairs = (f"{name}={quote(params[name], safe='*')}" for name in sorted(params))
    text = "&".join(pairs).replace("~", "%7e").lower()  # as Java's URLEncoder has it
    return base64.b64encode(hmac.digest(secret.encode(), text.encode(), hashlib.sha1)).decode()
