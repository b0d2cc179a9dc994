"""What calls look like on the wire: msgpack arrays, many to a frame.

A frame holds all that one tick of the loop had to say to one peer: packing them together costs a
tenth of sending them one by one, and delays nothing. Arguments and answers stay packed until
their method is known; then they are checked against its types while they are unpacked.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from functools import cache
from types import NoneType
from typing import Any

import msgspec

from csnode.bus.event import Event
from csnode.bus.service import Method
from csnode.context import Context
from csnode.faults import Broken, Fault, Invalid, kinds
from csnode.types import Message

FRAME_BYTES = 256 * 1024  # a frame grows to this size before the next one is begun
MESSAGE_BYTES = 16 * 1024 * 1024  # one call's arguments or answer
OVERHEAD_BYTES = 128  # of a message besides its payload, about
MESSAGE_MAX = 2000  # characters of a fault's words that are believed
UNREADABLE = (msgspec.DecodeError, UnicodeDecodeError, RecursionError)  # the last: too deep
_encode = msgspec.msgpack.Encoder().encode


class Request(Message, tag=1):
    """Please do this, within the time that remains."""

    id: int  # chosen by the caller, for its answer
    method: str  # "Compute.ensure_running"
    at: str | None
    remaining_ms: int
    context: Context
    arguments: msgspec.Raw


class Cancel(Message, tag=2):
    """Nobody waits for that answer any more."""

    id: int


class Answer(Message, tag=3):
    """What the method returned."""

    id: int
    value: msgspec.Raw


class Failure(Message, tag=4):
    """The fault that the method raised."""

    id: int
    kind: str  # "NotFound"
    message: str
    detail: str
    code: int
    cs: int


_asked = msgspec.msgpack.Decoder(list[Request | Cancel])
_answered = msgspec.msgpack.Decoder(list[Answer | Failure])


def asked(frame: bytes) -> list[Request | Cancel]:
    """Read a caller's frame. Raises Invalid if it is not one."""
    try:
        return _asked.decode(frame)
    except UNREADABLE as error:
        raise Invalid("a frame of requests cannot be read", detail=str(error)) from error


def answered(frame: bytes) -> list[Answer | Failure]:
    """Read a server's frame. Raises Invalid if it is not one."""
    try:
        return _answered.decode(frame)
    except UNREADABLE as error:
        raise Invalid("a frame of answers cannot be read", detail=str(error)) from error


class Codec:
    """Packs and unpacks one method's arguments and answer; made once for each method."""

    def __init__(self, method: Method) -> None:
        self._name = method.name
        arguments: Any = tuple[method.arguments or ((),)]
        self._arguments = msgspec.msgpack.Decoder[Any](arguments)
        self._answer = msgspec.msgpack.Decoder[Any](
            NoneType if method.answer is None else method.answer
        )

    def packed(self, arguments: tuple[Any, ...]) -> msgspec.Raw:
        """Pack the arguments. Raises Invalid if they cannot be sent, or are larger than 16 MiB."""
        try:
            packed = _encode(arguments)
        except (TypeError, ValueError, OverflowError) as error:
            raise Invalid(f"{self._name} cannot be asked that: {error}") from error
        if len(packed) > MESSAGE_BYTES:
            raise Invalid(f"{self._name}: the arguments are larger than 16 MiB")
        return msgspec.Raw(packed)

    def arguments(self, packed: msgspec.Raw) -> tuple[Any, ...]:
        """Unpack a call's arguments.

        Raises Invalid, naming the place, if they are not what the method takes.
        """
        try:
            return self._arguments.decode(packed)
        except UNREADABLE as error:
            raise Invalid(f"{self._name}: {error}") from error

    def packed_answer(self, value: Any) -> msgspec.Raw:
        """Pack an answer. Raises Broken if it cannot be sent, or is larger than 16 MiB."""
        try:
            packed = _encode(value)
        except (TypeError, ValueError, OverflowError) as error:
            raise Broken(f"{self._name} answered what cannot be sent", detail=str(error)) from error
        if len(packed) > MESSAGE_BYTES:
            raise Broken(f"{self._name} answered more than 16 MiB")
        return msgspec.Raw(packed)

    def answer(self, packed: msgspec.Raw) -> Any:
        """Unpack an answer. Raises Broken if the server's answer is not of the method's type."""
        try:
            return self._answer.decode(packed)
        except UNREADABLE as error:
            raise Broken(f"the answer of {self._name} cannot be read", detail=str(error)) from error


@cache
def codec_of(method: Method) -> Codec:
    """Return the method's codec."""
    return Codec(method)


def failure(id: int, fault: Fault) -> Failure:
    """Return a fault as it goes over the wire."""
    return Failure(
        id=id,
        kind=type(fault).__name__,
        message=fault.message,
        detail=fault.detail,
        code=fault.code,
        cs=fault.cs,
    )


def fault_of(failure: Failure) -> Fault:
    """Return the fault again: of its own kind, or a plain Fault if we do not know that kind.

    It goes into rows, logs and answers to users, so it is cut to a size that fits there.
    """
    kind = kinds().get(failure.kind, Fault)
    fault = kind.__new__(kind)  # a plug-in's kind may take other arguments than Fault does
    code = failure.code if 400 <= failure.code < 600 else kind.code
    cs = failure.cs if 0 <= failure.cs < 10_000 else kind.cs
    Fault.__init__(fault, _plain(failure.message), detail=_plain(failure.detail), code=code, cs=cs)
    return fault


def _plain(text: str) -> str:
    """Leave out what a terminal would obey, and all beyond a length."""
    if len(text) > MESSAGE_MAX:
        text = f"{text[: MESSAGE_MAX - 3]}..."
    return "".join(c if c.isprintable() or c in "\n\t" else "?" for c in text)


def channel_of(kind: type[Event], topic: str = "") -> bytes:
    """Return what subscribers filter by: every event of a kind, or those of one topic.

    The zero byte ends the topic, or a subscriber to "vm" would be sent "vm_nic" too.
    """
    return f"{kind.__name__}/{topic}\0".encode() if topic else f"{kind.__name__}/".encode()


def packed_event(event: Event) -> tuple[bytes, msgspec.Raw]:
    """Return the event's channel, and the event."""
    channel = f"{type(event).__name__}/{event.topic}\0".encode()
    return channel, msgspec.Raw(_encode(event))


class _Batch:
    __slots__ = ("messages", "size")

    def __init__(self) -> None:
        self.messages: list[Any] = []
        self.size = 0


class Outbox:
    """Collects what one tick has to say to each peer, and sends it at the tick's end."""

    def __init__(self, send: Callable[[bytes, bytes], None]) -> None:
        self._send = send
        self._loop = asyncio.get_running_loop()
        self._batches: dict[bytes, _Batch] = {}

    def put(self, to: bytes, message: Message | msgspec.Raw, payload: int = 0) -> None:
        """Send the message, whose payload has that many bytes, after those put before it."""
        if not self._batches:
            self._loop.call_soon(self.flush)
        batch = self._batches.get(to)
        if batch is None:
            batch = self._batches[to] = _Batch()
        size = payload + OVERHEAD_BYTES
        if batch.messages and batch.size + size > FRAME_BYTES:
            full = batch.messages
            batch.messages, batch.size = [], 0
            self._send(to, _encode(full))
        batch.messages.append(message)
        batch.size += size

    def flush(self) -> None:
        """Send everything now."""
        batches, self._batches = self._batches, {}
        for to, batch in batches.items():
            self._send(to, _encode(batch.messages))

    def forget(self) -> None:
        """Send nothing of it."""
        self._batches.clear()
