"""A peer: another node, as this one asks it."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from functools import cache
from typing import Any

import msgspec

from csnode import metrics
from csnode.bus.envelope import (
    Answer,
    Cancel,
    Codec,
    Failure,
    Outbox,
    Request,
    answered,
    codec_of,
    fault_of,
)
from csnode.bus.service import Method
from csnode.bus.wiring import Wiring
from csnode.clock import now
from csnode.context import current
from csnode.faults import Fault, Unavailable
from csnode.log import logger
from csnode.types import NodeId

log = logger("bus")
IN_FLIGHT_MAX = 1024
UNSENT_BYTES = 64 * 1024 * 1024  # kept for a peer that reads slowly
_calls = cache(metrics.CALLS.labels)


class _Waiting(msgspec.Struct):
    """A call under way."""

    answer: asyncio.Future[Any]
    codec: Codec


class Peer:
    """One connection, and the calls that wait for its answers."""

    def __init__(
        self, node: NodeId, endpoint: str, key: str, sockets: Wiring, moved: Callable[[], None]
    ) -> None:
        """Make a peer.

        `key` is its machine's; `moved` is told when the connection stands or is lost.
        """
        self.node, self.endpoint, self.key = node, endpoint, key
        self.up = False
        self.since = now()
        self.load = 0.0  # as the node itself reports it
        self._moved = moved
        self._loop = asyncio.get_running_loop()
        self._waiting: dict[int, _Waiting] = {}
        self._last = 0
        self._outbox = Outbox(self._send)
        self._transport = sockets.asking(endpoint, self._got, self._changed, key)

    @property
    def busy(self) -> float:
        """How much it has to do, as far as we know."""
        return self.load + len(self._waiting)

    async def ask(
        self, method: Method, at: str | None, args: tuple[Any, ...], deadline: float
    ) -> Any:
        """Send the call and wait for its answer, until then on this loop's clock."""
        if (
            len(self._waiting) >= IN_FLIGHT_MAX
            or self._transport.get_write_buffer_size() > UNSENT_BYTES
        ):
            raise Unavailable(f"too many calls to {self.node} are under way", detail=method.name)
        codec = codec_of(method)
        packed = codec.packed(args)
        self._last += 1
        id = self._last
        answer: asyncio.Future[Any] = self._loop.create_future()
        self._waiting[id] = _Waiting(answer, codec)
        late = self._loop.call_at(deadline, self._late, id, method)
        request = Request(
            id=id,
            method=method.name,
            at=at,
            remaining_ms=int((deadline - now()) * 1000),
            context=current(),
            arguments=packed,
        )
        self._outbox.put(b"", request, len(packed))
        _calls(method.name).inc()
        try:
            return await answer
        except asyncio.CancelledError:
            self._outbox.put(b"", Cancel(id=id))
            raise
        except Fault as fault:
            metrics.CALL_FAULTS.labels(method.name, type(fault).__name__).inc()
            raise
        finally:
            late.cancel()
            self._waiting.pop(id, None)

    def close(self, why: str) -> None:
        """Disconnect. Whoever still waits gets Unavailable."""
        self.up = False
        self._transport.abort()
        self._give_up(why)

    def _send(self, _: bytes, frame: bytes) -> None:
        self._transport.write((frame,))

    def _got(self, parts: list[bytes]) -> None:
        try:
            messages = answered(parts[-1])
        except Fault as fault:
            log.warning("ignored", node=self.node, why=fault.message, detail=fault.detail)
            return
        for message in messages:
            waiting = self._waiting.get(message.id)
            if waiting is not None and not waiting.answer.done():
                _settle(waiting, message)

    def _changed(self, up: bool) -> None:
        if not up:
            self._transport.drain()  # answers may have come before the connection was lost
            self._give_up(f"the connection to {self.node} was lost")
        self.up, self.since = up, now()
        self._moved()

    def _give_up(self, why: str) -> None:
        self._outbox.forget()
        self._transport.forget()
        for waiting in self._waiting.values():
            if not waiting.answer.done():
                waiting.answer.set_exception(Unavailable(why))

    def _late(self, id: int, method: Method) -> None:
        self._transport.drain()  # the answer may have come while this loop was held up
        waiting = self._waiting.get(id)
        if waiting is not None and not waiting.answer.done():
            late = f"{method.name} did not answer within {method.answer_within_s:g} s"
            waiting.answer.set_exception(Unavailable(late, detail=f"asked {self.node}"))


def _settle(waiting: _Waiting, message: Answer | Failure) -> None:
    if isinstance(message, Failure):
        waiting.answer.set_exception(fault_of(message))
        return
    try:
        waiting.answer.set_result(waiting.codec.answer(message.value))
    except Fault as fault:
        waiting.answer.set_exception(fault)
