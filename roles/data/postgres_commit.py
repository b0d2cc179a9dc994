"""COMMIT to PostgreSQL, which may have to wait for a synchronous standby.

That wait is never cancelled. PostgreSQL answers a cancel by keeping the transaction, on the primary
alone, and showing it to all; if the standby is promoted it is gone. So we hang up on a COMMIT that
is late: its wait goes on, nobody sees its rows, and nobody else commits until it ends.
"""

from __future__ import annotations

import asyncio
from collections.abc import Coroutine
from typing import Any

from csnode.faults import Unavailable

UNCONFIRMED = "a commit waits for the synchronous standby, which does not confirm it"
NEVER_S = 1e9  # asyncpg's own time-out sends a cancel, so it must not strike


async def commit(line: Any, within_s: float) -> None:
    """Commit what that connection is at. Without the answer, nobody can tell whether it did.

    Raises Unavailable if the answer is late, or if somebody else ended the wait for the standby.
    """
    warned: list[str] = []

    def hear(_: Any, message: Any) -> None:
        if message.severity_en == "WARNING":
            warned.append(message.message)

    line.add_log_listener(hear)
    try:
        await uncancelled(line, line.execute("COMMIT", timeout=NEVER_S), within_s)
    finally:
        line.remove_log_listener(hear)
    if warned:
        raise Unavailable(
            "a commit's wait for the synchronous standby was ended", detail="; ".join(warned)
        )


async def uncancelled(line: Any, commit: Coroutine[Any, Any, Any], within_s: float) -> None:
    """Await a COMMIT on that connection; if it is late or we are cancelled, hang up instead."""
    committing = asyncio.ensure_future(commit)
    try:
        done, _ = await asyncio.wait((committing,), timeout=within_s)
    except asyncio.CancelledError:
        line.terminate()
        await asyncio.wait((committing,))
        raise
    if not done:
        line.terminate()
        await asyncio.wait((committing,))
        raise Unavailable(UNCONFIRMED, detail=str(committing.exception()))
    committing.result()
