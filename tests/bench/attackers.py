"""`python -m tests.bench.attackers URL KIND`: strangers that cost an api what they can.

The process is nice: on the machine of the figures it stands for many machines elsewhere.
"""

from __future__ import annotations

import asyncio
import os
import sys
from collections.abc import Callable, Coroutine
from io import BytesIO
from typing import Any

import aiohttp

from tests.system.processes import KEY

SIZE = 2_000_000
LOGINS = 100
EVERY_S = 1.0
FORM = {"Content-Type": "application/x-www-form-urlencoded"}
ESCAPES = b"&x=" + b"%ff" * (SIZE // 3)
LOGIN = b"command=login&username=operator&password=wrong&response=json"
Send = Callable[[bytes], Coroutine[Any, Any, None]]


async def escapes(send: Send) -> None:
    """2 MB of %ff a second, in nobody's name."""
    await send(b"command=listZones" + ESCAPES)


async def signature(send: Send) -> None:
    """The same, with the API key of a user and a wrong signature."""
    await send(f"command=listZones&signature=wrong&apikey={KEY}".encode() + ESCAPES)


async def logins(send: Send) -> None:
    """A hundred logins at once with a wrong password; each asks again once it was answered."""

    async def again() -> None:
        while True:
            await send(LOGIN)

    await asyncio.gather(*(again() for _ in range(LOGINS)))


KINDS = {"escapes": escapes, "signature": signature, "logins": logins}


async def main(url: str, kind: str) -> None:
    os.nice(10)
    connector = aiohttp.TCPConnector(limit=0, local_addr=("127.0.0.2", 0))
    async with aiohttp.ClientSession(connector=connector) as session:

        async def send(body: bytes) -> None:
            async with session.post(url, data=BytesIO(body), headers=FORM) as answer:
                await answer.read()

        while True:
            await KINDS[kind](send)
            await asyncio.sleep(EVERY_S)


if __name__ == "__main__":
    asyncio.run(main(*sys.argv[1:]))
