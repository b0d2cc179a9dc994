"""Which of several PostgreSQL servers takes the commits, and whether a standby is safe to promote.

A promotion begins a new timeline, whose number is higher. So of two servers that both take commits
the one with the higher timeline is the primary, and the other was left behind.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from typing import Any
from urllib.parse import parse_qs, urlsplit

from csnode.faults import Invalid
from csnode.types import Struct

OTHERS_S = 0.3  # how long the slower servers are waited for once one has answered
WRITABLE = ("read-write", "primary")
Connect = Callable[[str], Awaitable[Any]]


class Era(Struct, order=True):
    """What a server's data descends from. Feed numbers of two eras never meet."""

    system: str = ""  # of the cluster of databases, as initdb named it
    timeline: int = 0  # one more after each promotion

    def __str__(self) -> str:
        return f"{self.system}/{self.timeline}"


def each_host(url: str) -> tuple[str, ...]:
    """Return a URL for each host that the URL names. Raises Invalid."""
    parts = urlsplit(url)
    wanted = parse_qs(parts.query).get("target_session_attrs", ["read-write"])[-1]
    if wanted not in WRITABLE:
        raise Invalid(
            f"[data] url: target_session_attrs={wanted} may lead to a standby, which takes no "
            "commits; leave it out, or say read-write"
        )
    user, at, hosts = parts.netloc.rpartition("@")
    named = hosts.split(",")
    if len(named) == 1:
        return (url,)
    if not all(host.rpartition(":")[0] or host.strip(":") for host in named):
        raise Invalid("[data] url: a host between the commas is empty")
    return tuple(parts._replace(netloc=f"{user}{at}{host}").geturl() for host in named)


async def primary_of(urls: Sequence[str], connect: Connect) -> Any:
    """Connect to all of them at once; return the connection of the highest era, end the others.

    A host that is off, or swallows what it is sent, does not keep the next one waiting. Raises
    what connecting raised, if none lets us in.
    """
    if len(urls) == 1:
        return await connect(urls[0])
    trying = [asyncio.ensure_future(connect(url)) for url in urls]
    try:
        pending = set(trying)
        while pending and not any(map(_came, trying)):
            _, pending = await asyncio.wait(pending, return_when=asyncio.FIRST_COMPLETED)
        if pending:
            await asyncio.wait(pending, timeout=OTHERS_S)
        made = sorted((t.result() for t in trying if _came(t)), key=lambda found: found[1])
        if not made:
            raise _telling([t.exception() for t in trying])
        for connection, _ in made[:-1]:
            connection.terminate()
        return made[-1]
    except asyncio.CancelledError:
        for task in filter(_came, trying):
            task.result()[0].terminate()
        raise
    finally:
        for task in trying:
            task.cancel()
            task.add_done_callback(_ended)


def _came(task: asyncio.Future[Any]) -> bool:
    return task.done() and not task.cancelled() and task.exception() is None


def _ended(task: asyncio.Future[Any]) -> None:
    """Mark how it ended as seen: somebody has seen it."""
    if not task.cancelled():
        task.exception()


def _telling(errors: Sequence[BaseException | None]) -> BaseException:
    """Choose what says most: a server that refuses us, before one that does not answer."""
    found = [error for error in errors if error is not None]
    return next((e for e in found if not isinstance(e, OSError)), found[0])


def standby_warning(*, standbys: int, names: str, connected: int | None) -> str:
    """Say what an operator should mend about the standbys; "" if nothing.

    `names` is the setting synchronous_standby_names, `connected` how many synchronous standbys
    there are; None if the database does not show them to us.
    """
    if standbys and not names:
        return (
            f"{standbys} standby{'s follow' if standbys > 1 else ' follows'} the database and none "
            "is synchronous: what was acknowledged is lost if one is promoted"
        )
    if names and connected == 0:
        return (
            "the database waits for a synchronous standby, and none is connected: nothing can be "
            f"committed (synchronous_standby_names is {names!r})"
        )
    return ""


SYNCHRONOUS = "set synchronous_standby_names on the primary (README, PostgreSQL with a standby)"
