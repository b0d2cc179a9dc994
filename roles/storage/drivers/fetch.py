"""Fetching an image from http(s) or a file, a chunk at a time, as far as the rules let it.

Redirects are followed by ourselves, each judged like the first URL. There is no total time: a
download ends when nothing arrives for a while, or when whoever asked for it has gone.
"""

from __future__ import annotations

import asyncio
import os
from collections.abc import AsyncIterator
from typing import cast
from urllib.parse import unquote, urlsplit

import aiohttp
from aiohttp.abc import AbstractCookieJar
from yarl import URL

from csnode.clock import now
from csnode.drivers.storage import Progress
from csnode.faults import Fault, Invalid, Refused, Unavailable
from csnode.model.rules import image_url
from csnode.types import Struct
from roles.storage.drivers.files import in_thread, told_as_fault
from roles.storage.drivers.reach import Gate, open_local
from roles.storage.drivers.sink import Sink

REDIRECTS_MAX = 5
CHUNK = 1 << 20
_REDIRECT = {301, 302, 303, 307, 308}
_PASSING = {408, 425, 429}
_COMPRESSED = "the server sends the image compressed, though it was asked not to"


class Rules(Struct):
    """What may be fetched from where."""

    file_roots: tuple[str, ...]
    allow_private: bool
    stall_seconds: float
    min_rate: int = 0  # bytes a second, over stall_seconds; 0: it is enough not to be silent


async def fetch(url: str, sink: Sink, rules: Rules, progress: Progress) -> None:
    """Write the URL's bytes into the sink.

    Raises Refused for what the rules forbid or the server does not have, Unavailable if the
    source does not answer or the transfer breaks.
    """
    try:
        scheme = image_url(url)
    except Invalid as invalid:
        raise Refused(invalid.message) from invalid
    await (_fetch_file if scheme == "file" else _fetch_http)(url, sink, rules, progress)


async def _fetch_file(url: str, sink: Sink, rules: Rules, progress: Progress) -> None:
    path = unquote(urlsplit(url).path)
    fd = await in_thread(open_local, path, rules.file_roots)
    try:
        total = os.fstat(fd).st_size
        sink.expect(total)
        while chunk := await in_thread(_read, fd):
            await in_thread(sink.add, chunk)
            progress(min(99, sink.size * 100 // max(total, 1)))
    finally:
        os.close(fd)


def _read(fd: int) -> bytes:
    with told_as_fault("to read the image's file"):
        return os.read(fd, CHUNK)


async def _fetch_http(url: str, sink: Sink, rules: Rules, progress: Progress) -> None:
    gate = Gate(rules.allow_private)
    wait = rules.stall_seconds
    quiet = aiohttp.ClientTimeout(total=None, connect=wait, sock_read=wait)
    at = URL(url)
    try:
        async with aiohttp.ClientSession(
            connector=aiohttp.TCPConnector(socket_factory=gate.open, use_dns_cache=False),
            cookie_jar=cast("AbstractCookieJar", aiohttp.DummyCookieJar()),
            timeout=quiet,
            auto_decompress=False,
            headers={"Accept-Encoding": "identity", "User-Agent": "csnode"},
            read_bufsize=CHUNK,
        ) as session:
            for _ in range(REDIRECTS_MAX + 1):
                async with asyncio.timeout(2 * wait) as patience:  # a header may drip, too
                    async with session.get(at, allow_redirects=False) as response:
                        patience.reschedule(None)
                        if response.status not in _REDIRECT:
                            return await _take(response, sink, rules, progress)
                        at = _next(at, response.headers.get("Location", ""))
    except (aiohttp.ClientError, TimeoutError) as error:
        raise _broken(at, gate, error) from error
    raise Refused(f"{_shown(at)}: more than {REDIRECTS_MAX} redirects")


async def _take(
    response: aiohttp.ClientResponse, sink: Sink, rules: Rules, progress: Progress
) -> None:
    at, status = response.url, response.status
    if status in _PASSING or status >= 500:
        raise Unavailable(f"{_shown(at)} answered {status} {response.reason}")
    if status != 200:
        raise Refused(f"{_shown(at)} answered {status} {response.reason}")
    if response.headers.get("Content-Encoding", "identity") != "identity":
        raise Refused(f"{_shown(at)}: {_COMPRESSED}")
    total = response.content_length or 0
    sink.expect(total)
    async for chunk in _fast_enough(response, rules):
        await in_thread(sink.add, chunk)
        if total:
            progress(min(99, sink.size * 100 // total))
    if total and sink.size < total:
        raise Unavailable(f"{_shown(at)}: the transfer ended after {sink.size} of {total} bytes")


async def _fast_enough(response: aiohttp.ClientResponse, rules: Rules) -> AsyncIterator[bytes]:
    """Yield the body, as long as enough of it arrives in each `stall_seconds`; Unavailable if not.

    The time that our own disk takes does not count.
    """
    wait, enough = rules.stall_seconds, max(1.0, rules.min_rate * rules.stall_seconds)
    came, left = 0, wait
    while True:
        began = now()
        try:
            async with asyncio.timeout(left):
                chunk = await response.content.read(CHUNK)
        except TimeoutError:
            if not came:
                raise
            raise Unavailable(
                f"{_shown(response.url)} is too slow: fewer than {rules.min_rate} bytes a second "
                f"came in {wait:g} s"
            ) from None
        if not chunk:
            return
        came, left = came + len(chunk), left - (now() - began)
        if came >= enough:
            came, left = 0, wait
        yield chunk


def _next(at: URL, location: str) -> URL:
    """Return where a redirect leads; to http(s) only."""
    try:
        following = at.join(URL(location))
    except ValueError as error:
        raise Refused(f"{_shown(at)} redirects to no URL") from error
    if following.scheme not in ("http", "https") or not following.host:
        raise Refused(f"{_shown(at)} redirects to {following.scheme[:40]!r}, which is not followed")
    return following


def _shown(url: URL) -> str:
    """Write a URL for messages: without name, password and query, which may be secret."""
    return str(url.with_user(None).with_query(None).with_fragment(None))[:200]


def _broken(at: URL, gate: Gate, error: Exception) -> Fault:
    if gate.refused and isinstance(error, aiohttp.ClientConnectorError):
        return Refused(
            f"{_shown(at)} leads to a private address, which is not fetched from; an operator may"
            " allow it: [storage.options] allow_private",
            detail=", ".join(gate.refused),
        )
    if isinstance(error, aiohttp.InvalidURL):
        return Refused(f"{_shown(at)} is no URL that an image can be fetched from")
    if isinstance(error, TimeoutError):
        return Unavailable(f"{_shown(at)} has fallen silent", detail=repr(error))
    return Unavailable(f"{_shown(at)} cannot be fetched: {_why(error)}", detail=repr(error))


def _why(error: Exception) -> str:
    if isinstance(error, aiohttp.ClientConnectorDNSError):
        return "its name is not known"
    if isinstance(error, aiohttp.ClientSSLError):
        return "its certificate is not trusted"
    if isinstance(error, aiohttp.ClientConnectorError):
        return "nobody answers there"
    return "the transfer broke off"
