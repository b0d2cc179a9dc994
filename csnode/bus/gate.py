"""The gate: whom a bound socket lets in (ZAP, RFC 27).

A key that nobody knows is not sent away at once: its credential may be on its way, in a beacon.
After WAIT_S it gets a 300, for libzmq's client tries again after that (when its HANDSHAKE_IVL is
over), but never after a 400.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence

from csnode.context import Principal
from csnode.trust.files import z85
from csnode.trust.refusals import Refusals
from csnode.types import Struct

CALLS, EVENTS = "calls", "events"
WAIT_S = 2.0
LOOK_S = 0.05
WAITING_MAX = 256
Who = Callable[[str], Principal | None]


class _Question(Struct):
    head: tuple[bytes, ...]  # route, empty, version, id
    door: str
    address: str
    key: str


class Gate:
    """Takes libzmq's questions, and answers them."""

    def __init__(self, who: Who) -> None:
        self._who = who
        self._answer: Callable[[Sequence[bytes]], None] = _nowhere
        self._left = WAITING_MAX
        self.refusals = Refusals("connection")

    def open(self, answer: Callable[[Sequence[bytes]], None]) -> None:
        """Open the gate: answers go to `answer`."""
        self._answer = answer

    def ask(self, parts: Sequence[bytes]) -> None:
        """Judge a question, now or once its key may be known.

        Its parts are route, empty, version, id, domain, address, identity, mechanism and
        credentials (for CURVE the client's public key, 32 bytes).
        """
        if len(parts) < 8:
            return
        head, door = tuple(parts[:4]), parts[4].decode(errors="replace")
        address = parts[5].decode(errors="replace")
        if parts[7] != b"CURVE" or len(parts) != 9 or len(parts[8]) != 32:
            self._refuse(_Question(head=head, door=door, address=address, key=""), "no key")
            return
        question = _Question(head=head, door=door, address=address, key=z85(parts[8]))
        who = self._who(question.key)
        if who is None and self._left > 0:
            self._left -= 1
            self._look_later(question, asyncio.get_running_loop().time() + WAIT_S)
        else:
            self._judge(question, who)

    def _look_later(self, question: _Question, until: float) -> None:
        asyncio.get_running_loop().call_later(LOOK_S, self._look, question, until)

    def _look(self, question: _Question, until: float) -> None:
        who = self._who(question.key)
        if who is None and asyncio.get_running_loop().time() < until:
            self._look_later(question, until)
            return
        self._left += 1
        self._judge(question, who)

    def _judge(self, question: _Question, who: Principal | None) -> None:
        if who is None:
            self._refuse(question, "its key is not known, or was put out")
        elif question.door == EVENTS and not who.controls:
            self._refuse(question, f"{who.name} may not hear the feed")
        else:
            self._answer([*question.head, b"200", b"OK", question.key.encode(), b""])

    def _refuse(self, question: _Question, why: str) -> None:
        self.refusals.note(question.address, why, door=question.door)
        self._answer([*question.head, b"300", b"not now", b"", b""])


def _nowhere(_: Sequence[bytes]) -> None:
    """Do nothing: nothing is asked before the gate is open."""
