"""Health over HTTP, for whoever watches a process: /livez, /readyz, /healthz and /metrics.

/livez asks nothing of anybody: restart the process if it fails. /readyz says whether to send
traffic. /healthz is for people, who also see what is wrong and yet keeps nobody from serving, and
with ?verbose what is well. The same routes are served at [health] listen and beside the CloudStack
API.
"""

from __future__ import annotations

from collections.abc import AsyncGenerator, Mapping, Sequence
from contextlib import asynccontextmanager
from typing import Protocol

from aiohttp import web

from csnode import metrics
from csnode.listen import BACKLOG, sockets


class HealthState(Protocol):
    """What is reported; a Node is one."""

    ready: bool

    def troubles(self) -> Mapping[str, Sequence[str]]:
        """Return, by role, what keeps it from serving, one line each; empty if nothing does."""
        ...

    def warnings(self) -> Mapping[str, Sequence[str]]:
        """Return, by what it is about, what an operator should mend although all roles serve."""
        ...


def health_routes(state: HealthState) -> list[web.RouteDef]:
    """Return the four routes, reporting on that state."""

    async def livez(_: web.Request) -> web.Response:
        return web.Response(text="ok\n")

    async def readyz(_: web.Request) -> web.Response:
        failing = lines(state, failing_only=True)
        return web.Response(
            text="\n".join(failing or ["ok"]) + "\n", status=503 if failing else 200
        )

    async def healthz(request: web.Request) -> web.Response:
        failing = lines(state, failing_only=True)
        verbose = request.query.get("verbose", "false").lower() not in ("false", "0")
        shown = [*lines(state, failing_only=not verbose), *_warned(state)]
        said = "not healthy" if failing else "healthy" if verbose else "ok"
        return web.Response(text="\n".join([*shown, said]) + "\n", status=503 if failing else 200)

    async def counted(_: web.Request) -> web.Response:
        return web.Response(body=metrics.exposed(), headers={"Content-Type": metrics.MEDIA_TYPE})

    return [
        web.get("/livez", livez),
        web.get("/readyz", readyz),
        web.get("/healthz", healthz),
        web.get("/metrics", counted),
    ]


def lines(state: HealthState, *, failing_only: bool) -> list[str]:
    """Return `[+]data` for what serves, `[-]data: why not` for the rest; in the roles' order."""
    troubles = state.troubles()
    said = [
        f"[-]{role}: {'; '.join(whys)}" if whys else f"[+]{role}" for role, whys in troubles.items()
    ]
    if not state.ready:
        said.insert(0, "[-]node: it is starting or draining")
    return [line for line in said if not failing_only or line.startswith("[-]")]


def _warned(state: HealthState) -> list[str]:
    warnings = state.warnings().items()
    return [f"[!]{about}: {'; '.join(whys)}" for about, whys in warnings if whys]


@asynccontextmanager
async def serving(listen: str | Sequence[str], state: HealthState) -> AsyncGenerator[int]:
    """Serve the routes at each "address:port" while the block runs; yields the first port bound.

    Raises Invalid if an address makes no sense, or cannot be had.
    """
    app = web.Application()
    app.add_routes(health_routes(state))
    runner = web.AppRunner(app, access_log=None, auto_decompress=False)
    await runner.setup()
    try:
        for sock in sockets("health", listen):
            await web.SockSite(runner, sock, backlog=BACKLOG).start()
        yield int(runner.addresses[0][1])
    finally:
        await runner.cleanup()
