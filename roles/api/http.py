"""HTTP: aiohttp in front of the door. It decodes, bounds what a client may cost, and traces."""

from __future__ import annotations

import asyncio
import logging
import re
from collections import Counter
from collections.abc import AsyncGenerator, Sequence
from contextlib import asynccontextmanager
from functools import partial
from typing import Any

from aiohttp import web
from aiohttp.http_exceptions import HttpProcessingError

from csnode import uuids
from csnode.api.once import HEADER
from csnode.clock import now
from csnode.context import acting
from csnode.faults import Fault, Invalid, Unavailable
from csnode.listen import BACKLOG, sockets
from csnode.log import logger
from roles.api import envelope, form, site
from roles.api.config import ApiConfig
from roles.api.door import Door
from roles.api.envelope import Reply

LINGER_MAX_S = 30.0  # an api that is still asked then leaves all the same
LINGER_S = 1.0  # how long the rest of a body that nobody wants may still come in
SECURITY = {
    "X-Content-Type-Options": "nosniff",
    "X-XSS-Protection": "1;mode=block",
    "Content-Security-Policy": "default-src 'none'",
}
_TRACEPARENT = re.compile(r"[0-9a-f]{2}-([0-9a-f]{32})-[0-9a-f]{16}-[0-9a-f]{2}")
_HELLO = b"csnode: the CloudStack API is at /client/api\n"
log = logger("api.http")
Routes = list[web.RouteDef]


class Http:
    """The routes of one door."""

    def __init__(self, door: Door, config: ApiConfig) -> None:
        self.door, self.config = door, config
        self.draining = False
        self._busy = 0
        self._asked = 0.0  # when the last request came
        self.long_bodies: Counter[str] = Counter()  # long ones that come in, by address
        self._idle = asyncio.Event()
        self._idle.set()

    async def drain(self) -> None:
        """Take requests until none has come for a while, then finish those under way.

        A balancer learns from /readyz that others should have them, on a busy machine later than
        it is set to; clients that keep their connection are told with each answer that it ends.
        """
        self.draining = True
        began = self._asked = now()
        left = quiet = self.config.linger_seconds
        while left > 0:
            await asyncio.sleep(left)
            left = leaves_at(began, self._asked, quiet) - now()
        await self._idle.wait()

    def application(self, more: Routes) -> web.Application:
        """Make the application: the routes, and what the node adds (health)."""
        app = web.Application(client_max_size=self.config.body_max)
        app.add_routes(
            [
                web.route("*", "/client/api", self.api),
                web.route("*", "/client/api/", self.api),
                web.get("/", self.to_client),
                web.get("/client", self.hello),
                web.get("/client/", self.hello),
                *more,
            ]
        )
        return app

    async def api(self, request: web.Request) -> web.Response:
        """Answer one API request."""
        self._busy += 1
        self._asked = now()
        self._idle.clear()
        try:
            return await self._answered(request)
        finally:
            self._busy -= 1
            if not self._busy:
                self._idle.set()

    async def _answered(self, request: web.Request) -> web.Response:
        trace = _trace(request.headers.get("traceparent", ""))
        forwarded = ",".join(request.headers.getall("X-Forwarded-For", ()))
        address = site.sender(request.remote or "", forwarded, self.config.proxies)
        with acting(trace=trace, caller="api"):
            try:
                if request.method not in ("GET", "POST"):
                    raise Invalid(f"{request.method} is not supported; use GET or POST", code=405)
                reply = await self.door.answer(
                    await self._received(request, address),
                    post=request.method == "POST",
                    cookies=request.cookies if "Cookie" in request.headers else None,
                    key=_key(request),
                    address=address,
                    foreign=site.is_foreign(request.headers, self.config.origins),
                )
            except Fault as fault:
                reply = envelope.refusal({"response": "json"}, "errorresponse", fault)
        response = _response(reply, trace)
        if self.draining:
            response.force_close()
        return response

    async def to_client(self, request: web.Request) -> web.Response:
        """Redirect as CloudStack does."""
        del request
        return web.Response(status=302, headers={"Location": "/client"})

    async def hello(self, request: web.Request) -> web.Response:
        """Answer somebody with a browser."""
        del request
        return web.Response(body=_HELLO, content_type="text/plain")

    async def _received(self, request: web.Request, address: str) -> dict[str, str]:
        """Read the parameters. Those of a long body are decoded once its sender is named."""
        query = form.tokens(request.rel_url.raw_query_string.encode(errors="replace"))
        body = await self._body(request, address) if request.method == "POST" else b""
        posted = form.tokens(body) if body else []
        decode = partial(_decoded, posted, query)
        if len(body) <= form.SMALL:
            return decode()
        key = form.named(query, b"apikey") or form.named(posted, b"apikey")
        await self.door.check_known(key, request.cookies)
        return await self.door.heavy.take(address, key, decode)

    async def _body(self, request: web.Request, address: str) -> bytes:
        """Read a POST body; what is no form counts as empty. Long ones of an address are bounded.

        Raises Invalid, and Unavailable (429) at that bound. A compressed one is refused, and not
        inflated (see `serving`): a few bytes could become as many as a body may have.
        """
        if not request.can_read_body:
            return b""
        encodings = ",".join(request.headers.getall("Content-Encoding", ()))
        if encodings.strip().lower() not in ("", "identity"):
            text = f"Content-Encoding {encodings} is not supported; send the body as it is"
            raise Invalid(text, code=415)
        long = request.content_length is None or request.content_length > form.SMALL
        if not long:
            return await self._read(request)
        if self.long_bodies[address] >= self.config.bodies_max:
            text = f"{self.config.bodies_max} long requests of {address} are coming in already"
            raise Unavailable(f"{text}, please try again in a second", code=429)
        self.long_bodies[address] += 1
        try:
            return await self._read(request)
        finally:
            self.long_bodies[address] -= 1
            if not self.long_bodies[address]:
                del self.long_bodies[address]

    async def _read(self, request: web.Request) -> bytes:
        try:
            async with asyncio.timeout(self.config.body_seconds):
                body = await request.read()
        except web.HTTPRequestEntityTooLarge as error:
            most = self.config.body_max
            raise Invalid(f"the body is larger than {most} bytes", code=413) from error
        except web.RequestPayloadError as error:
            raise Invalid("the body is not encoded as its headers say", code=400) from error
        except TimeoutError as error:
            raise Invalid("the body did not arrive in time", code=408) from error
        return body if request.content_type == "application/x-www-form-urlencoded" else b""


def leaves_at(began: float, asked: float, quiet: float) -> float:
    """Return when an api that began to leave takes no more requests, if it was last asked then.

    It is `quiet` seconds after the last one, though never longer than LINGER_MAX_S after it began.
    """
    return min(asked + quiet, began + max(quiet, LINGER_MAX_S))


@asynccontextmanager
async def serving(http: Http, more: Routes) -> AsyncGenerator[int]:
    """Serve while the block runs; yields the first port. Invalid if an address cannot be had."""
    config = http.config
    logging.getLogger("aiohttp.server").addFilter(_terse)
    runner = web.AppRunner(
        http.application(more),
        access_log=None,
        keepalive_timeout=config.idle_seconds,
        lingering_time=LINGER_S,
        auto_decompress=False,  # else it is done before anything of ours runs
    )
    await runner.setup()
    try:
        for sock in sockets("api", config.listen):
            await web.SockSite(runner, sock, backlog=BACKLOG).start()
        for bound in runner.addresses:
            log.info("the API is served", host=bound[0], port=bound[1])
        first: Any = runner.addresses[0]
        yield first[1]
    finally:
        await runner.cleanup()


def _terse(record: logging.LogRecord) -> bool:
    """Cut bad HTTP to one line, without its secrets: it is the client's failure, not ours."""
    error = record.exc_info[1] if record.exc_info else None
    if isinstance(error, HttpProcessingError | web.RequestPayloadError):
        record.exc_info, record.levelno, record.levelname = None, logging.INFO, "INFO"
        record.msg = f"{record.msg}: {type(error).__name__}"
    return True


def _decoded(posted: Sequence[form.Token], query: Sequence[form.Token]) -> dict[str, str]:
    """Decode the parameters.

    Of a name given twice the first in the body counts, and the last in the query above all.
    """
    return form.decoded(posted, last=False) | form.decoded(query)


def _key(request: web.Request) -> str:
    """Return the Idempotency-Key; one that is there but empty is refused later, as any bad one."""
    keys = request.headers.getall(HEADER, ())
    return ", ".join(keys) or ('""' if keys else "")


def _trace(traceparent: str) -> str:
    """Return the caller's W3C trace id, or a new one."""
    found = _TRACEPARENT.fullmatch(traceparent)
    return found[1] if found else uuids.source.randbytes(16).hex()


def _response(reply: Reply, trace: str) -> web.Response:
    response = web.Response(
        status=reply.status, body=reply.body, headers=SECURITY, reason=reply.reason or None
    )
    headers = response.headers
    for name, value in reply.headers:
        headers.add(name, value)
    headers["X-Trace-Id"] = trace
    return response
