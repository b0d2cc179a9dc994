"""A CloudStack client that costs little: one connection pool, signed requests, no retries."""

from __future__ import annotations

import asyncio
import base64
import hmac
import json
from types import TracebackType
from typing import Any, Self
from urllib.parse import quote

import aiohttp
from yarl import URL

from tests.system.processes import KEY, SECRET


def signed(**params: object) -> str:
    """The query string of a signed request."""
    given = {"apiKey": KEY, "response": "json"} | {k: str(v) for k, v in params.items()}
    pairs = [f"{name}={quote(given[name], safe='*')}" for name in sorted(given)]
    text = "&".join(pairs)
    digest = hmac.digest(SECRET.encode(), text.lower().encode(), "sha1")
    return f"{text}&signature={quote(base64.b64encode(digest), safe='')}"


class Api:
    """Enter it, then call commands by name."""

    def __init__(self, url: str) -> None:
        self._url = url

    async def __aenter__(self) -> Self:
        self._session = aiohttp.ClientSession(connector=aiohttp.TCPConnector(limit=0))
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        await self._session.close()

    async def send(self, query: str) -> bytes:
        """The answer's bytes; RuntimeError if it is not 200."""
        async with self._session.get(URL(f"{self._url}?{query}", encoded=True)) as answer:
            body = await answer.read()
            if answer.status != 200:
                raise RuntimeError(f"{answer.status}: {body.decode(errors='replace')[:500]}")
            return body

    async def call(self, command: str, **params: object) -> dict[str, Any]:
        """What is inside the answer's one wrapper."""
        body = json.loads(await self.send(signed(command=command, **params)))
        return next(iter(body.values()))

    async def rows(self, command: str, key: str, **params: object) -> list[dict[str, Any]]:
        """The rows of a list."""
        return (await self.call(command, **params)).get(key, [])

    async def settle(self, job: str, every_s: float = 0.005) -> dict[str, Any]:
        """The job's result, once it has ended; RuntimeError if it failed."""
        while True:
            found = await self.call("queryAsyncJobResult", jobid=job)
            if found["jobstatus"] == 1:
                return found["jobresult"]
            if found["jobstatus"] == 2:
                raise RuntimeError(f"the job failed: {found['jobresult']}")
            await asyncio.sleep(every_s)


class Ready(dict[str, str]):
    """zoneid, serviceofferingid and templateid: what every deploy needs."""


async def prepare(api: Api, hosts: int, url: str, memory_mib: int) -> Ready:
    """Wait for the hosts; make an offering and a template from the URL."""
    async with asyncio.timeout(60):
        while True:
            up = await api.rows("listHosts", "host", state="Up", type="Routing")
            if len(up) >= hosts:
                break
            await asyncio.sleep(0.1)
    zone = str(up[0]["zoneid"])
    made = await api.call(
        "createServiceOffering", name="bench", displaytext="bench",
        cpunumber=1, cpuspeed=100, memory=memory_mib,
    )  # fmt: skip
    kinds = await api.rows("listOsTypes", "ostype")
    registered = await api.rows(
        "registerTemplate", "template", name="bench", displaytext="bench", url=url,
        format="QCOW2", hypervisor=up[0]["hypervisor"], zoneid=zone, ostypeid=kinds[0]["id"],
    )  # fmt: skip
    template = str(registered[0]["id"])
    async with asyncio.timeout(60):
        while True:
            rows = await api.rows("listTemplates", "template", templatefilter="all", id=template)
            if rows[0]["isready"]:
                break
            await asyncio.sleep(0.05)
    return Ready(
        zoneid=zone, serviceofferingid=str(made["serviceoffering"]["id"]), templateid=template
    )


async def networks(api: Api, zone: str, count: int) -> list[str]:
    """That many isolated networks."""
    offered = await api.rows("listNetworkOfferings", "networkoffering", guestiptype="Isolated")
    made: list[str] = []
    for n in range(count):
        network = await api.call(
            "createNetwork", name=f"bench-{n}", displaytext="bench", zoneid=zone,
            networkofferingid=offered[0]["id"],
        )  # fmt: skip
        made.append(str(network["network"]["id"]))
    return made
