"""The one seam to aiozmq: its transport and protocol interfaces over sockets that are drained.

ZMQ_FD is edge-triggered, and tells of commands in the socket's mailbox, not of messages
(zmq_getsockopt(3), ZMQ_FD). So a reader must receive until EAGAIN, and because a send may
swallow the edge, it must look again after any send it did not make while receiving. aiozmq's own
transport takes one message each time it is woken and asks for the state twice around it; taking
all there is costs a third of that. aiozmq.rpc is never used: it unpickles what it receives.
"""

from __future__ import annotations

import asyncio
import errno
import struct
from collections import deque
from collections.abc import Callable, Sequence
from contextlib import suppress
from weakref import WeakSet

import zmq
from aiozmq import ZmqProtocol, ZmqTransport

from csnode.bus.curve import GATE, USER, expect, guard
from csnode.bus.gate import CALLS, EVENTS, Gate
from csnode.bus.wiring import Asked, Got
from csnode.context import Principal
from csnode.faults import Invalid
from csnode.log import logger
from csnode.trust.files import Keys
from csnode.trust.local import LocalKey
from csnode.trust.trust import Trust

log = logger("bus")
DRAIN_MAX = 128  # messages taken before timers and others have their turn
TERM_S = 3.0
_NOW = int(zmq.NOBLOCK)
_MORE_NOW = int(zmq.SNDMORE | zmq.NOBLOCK)
_send = zmq.backend.Socket.send  # pyright: ignore[reportUnknownVariableType, reportUnknownMemberType] (pyzmq's own send checks every part first)

# Milliseconds, bytes and counts; see zmq_setsockopt(3). LINGER is given when closing.
OPTIONS: dict[zmq.SocketOption, int] = {
    zmq.LINGER: 0,
    zmq.IPV6: 1,
    zmq.SNDHWM: 1000,
    zmq.RCVHWM: 1000,
    zmq.HEARTBEAT_IVL: 1000,  # a cut cable says nothing by itself
    zmq.HEARTBEAT_TIMEOUT: 3000,
    zmq.HANDSHAKE_IVL: 4000,  # then who was not let in tries again
    zmq.TCP_KEEPALIVE: 1,
    zmq.RECONNECT_IVL: 50,
    zmq.RECONNECT_IVL_MAX: 2000,
    zmq.MAXMSGSIZE: 17 * 1024 * 1024,
}
OWN_OPTIONS: dict[zmq.SocketType, dict[zmq.SocketOption, int]] = {
    # A caller that reads slowly must not hold up the answers of the others: its queue has no
    # mark to wait at, and is bounded by the calls it may have under way.
    zmq.ROUTER: {zmq.SNDHWM: 0, zmq.ROUTER_MANDATORY: 1},
    zmq.DEALER: {zmq.IMMEDIATE: 1},  # what is not connected gets nothing to lose
}
Socket = zmq.Socket[bytes]


class Reader(ZmqProtocol):
    """Hands on every message of a socket."""

    def __init__(self, got: Got) -> None:
        self._got = got

    def msg_received(self, data: list[bytes]) -> None:
        self._got(data)


class DrainTransport(ZmqTransport):
    """Receives until there is nothing left, on any loop that has add_reader.

    Of aiozmq's interface it has what csnode uses; the rest raises NotImplementedError, as the
    interface itself does.
    """

    def __init__(self, socket: Socket, protocol: ZmqProtocol) -> None:
        super().__init__(None)
        self._socket: Socket | None = socket
        self._received: Got = protocol.msg_received  # pyright: ignore[reportUnknownMemberType]
        self._loop = asyncio.get_running_loop()
        self._fd = int(socket.getsockopt(zmq.FD))
        self._receives = socket.type != zmq.PUB
        self._kept: deque[Sequence[bytes]] = deque()
        self._kept_bytes = 0
        self._draining = False
        self._proves = socket.type == zmq.ROUTER and bool(socket.getsockopt(zmq.CURVE_SERVER))
        self.sender = ""  # the key of whoever sent the message that is being handed on
        self._soon: asyncio.Handle | None = None
        self.monitor: DrainTransport | None = None  # tells of its connections, closed with it
        self._loop.add_reader(self._fd, self.drain)
        self._look_again()  # the edge may have come before anybody watched

    def write(self, data: Sequence[bytes]) -> None:
        """Send the parts now, or keep them until the peer takes them."""
        socket = self._socket
        if socket is None:
            return
        if self._kept or not self._sent(socket, data):
            self._kept.append(data)
            self._kept_bytes += len(data[-1])

    def get_write_buffer_size(self) -> int:
        """Return the bytes kept."""
        return self._kept_bytes

    def forget(self) -> None:
        """Drop what is kept."""
        self._kept.clear()
        self._kept_bytes = 0

    def subscribe(self, value: bytes) -> None:
        """Receive what begins with the value."""
        if self._socket is not None:
            self._socket.setsockopt(zmq.SUBSCRIBE, value)

    def attach(self, endpoint: str, key: str = "") -> None:
        """Connect to whoever has the key; libzmq goes on trying until it is detached."""
        if self._socket is None:
            return
        try:
            if key:  # each connection keeps the one that was set when it was begun
                expect(self._socket, key)
            self._socket.connect(endpoint)
        except zmq.ZMQError as error:
            log.error("a node announces a bad endpoint", endpoint=endpoint, why=error.strerror)

    def detach(self, endpoint: str) -> None:
        """Let go of that connection."""
        if self._socket is not None:
            with suppress(zmq.ZMQError):  # it was not connected after all
                self._socket.disconnect(endpoint)

    def is_closing(self) -> bool:
        """Return True once it is closed; it closes at once."""
        return self._socket is None

    def close(self) -> None:
        """Close; what is kept is lost."""
        self.abort()

    def abort(self, linger_ms: int = 0) -> None:
        """Close; libzmq may go on sending what it took, for that long."""
        socket, self._socket = self._socket, None
        if socket is None:
            return
        self._loop.remove_reader(self._fd)
        if self._soon is not None:
            self._soon.cancel()
        self.forget()
        if self.monitor is not None:
            # In this order: libzmq waits for ever to send an event when nobody can receive it.
            socket.disable_monitor()
            self.monitor.abort()
        socket.close(linger_ms)

    def drain(self) -> None:
        """Hand on what has arrived, and send what is kept."""
        self._soon = None
        socket = self._socket
        if socket is None:
            return
        self._draining = True
        try:
            rest = self._drained(socket)
        except zmq.ZMQError as error:
            log.error("a socket failed and is closed", why=error.strerror)
            self.abort()
        else:
            self._draining = False
            self._send_kept()
            if rest:
                self._look_again()
        finally:
            self._draining = False

    def _drained(self, socket: Socket) -> bool:
        """Receive what there is, up to a bound; True if there may be more."""
        if not self._receives:
            socket.get(zmq.EVENTS)  # lets libzmq hear of new subscribers
            return False
        for _ in range(DRAIN_MAX):
            try:
                parts = [self._first(socket) if self._proves else socket.recv(_NOW)]
            except zmq.Again:
                return False
            while socket.get(zmq.RCVMORE):
                parts.append(socket.recv(_NOW))
            try:
                self._received(parts)
            except Exception:
                log.exception("a message could not be taken in")
            if self._socket is None:  # the message made its reader close us
                return False
        return True

    def _first(self, socket: Socket) -> bytes:
        """Receive the first part, and note who sent it; takes 1 us more than the part alone."""
        frame = socket.recv(_NOW, copy=False)
        self.sender = str(frame.get(USER))
        return frame.bytes

    def _send_kept(self) -> None:
        while self._kept and self._socket is not None and self._sent(self._socket, self._kept[0]):
            self._kept_bytes -= len(self._kept.popleft()[-1])

    def _sent(self, socket: Socket, parts: Sequence[bytes]) -> bool:
        """Give the parts to libzmq; False if it takes no more for now."""
        try:
            for part in parts[:-1]:
                _send(socket, part, _MORE_NOW)
            _send(socket, parts[-1], _NOW)
        except zmq.Again:
            return False
        except zmq.ZMQError as error:
            if error.errno != errno.EHOSTUNREACH:  # the peer left; nobody is there to tell
                log.error("a message could not be sent", why=error.strerror)
            return True
        if not self._draining:
            self._look_again()
        return True

    def _look_again(self) -> None:
        if self._soon is None:
            self._soon = self._loop.call_soon(self.drain)


class Link:
    """Told when a connection stands, and when it is lost."""

    def __init__(self, changed: Callable[[bool], None], endpoint: str) -> None:
        self._changed, self._endpoint = changed, endpoint
        self._warned = False

    def heard(self, parts: list[bytes]) -> None:
        """Take in an event of zmq_socket_monitor(3)."""
        (event,) = struct.unpack_from("=H", parts[0])
        if event == zmq.EVENT_HANDSHAKE_SUCCEEDED:
            self._changed(True)
        elif event == zmq.EVENT_DISCONNECTED:
            self._changed(False)
        elif not self._warned:  # libzmq goes on trying for ever
            self._warned = True
            log.warning(
                "a node refuses our connection, or is not who it should be",
                endpoint=self._endpoint,
            )


LINK_EVENTS = (
    zmq.EVENT_HANDSHAKE_SUCCEEDED
    | zmq.EVENT_DISCONNECTED
    | zmq.EVENT_HANDSHAKE_FAILED_AUTH
    | zmq.EVENT_HANDSHAKE_FAILED_PROTOCOL
    | zmq.EVENT_HANDSHAKE_FAILED_NO_DETAIL
)


class Sockets:
    """The Wiring of one process: one context, the same options and keys for all.

    Without keys nothing is proved. With keys and no trust it asks, as a newcomer, and lets
    nobody in. With a local key it lets in the processes of the same owner on this machine, and
    which of them calls is not proved.
    """

    def __init__(
        self,
        trust: Trust | None = None,
        keys: Keys | None = None,
        local: LocalKey | None = None,
    ) -> None:
        self._context: zmq.Context[Socket] = zmq.Context(io_threads=1)
        self._trust = trust
        self._local = local if trust is None and keys is None else None
        self._keys = keys = trust.keys if trust else local.keys if local and not keys else keys
        self._opened: WeakSet[DrainTransport] = WeakSet()
        if keys is not None:
            socket = self._made(zmq.ROUTER)
            socket.bind(GATE)
            self.gate = Gate(self._local.who if self._local else self.who)
            self.gate.open(self._transport(socket, self.gate.ask).write)

    @property
    def proves(self) -> bool:
        """Whether every connection proves whose it is."""
        return self._keys is not None and self._local is None

    @property
    def key(self) -> str:
        """What others find who connect to us; Z85."""
        return self._keys.public if self._keys else ""

    def own(self) -> Principal | None:
        """Return who we are to others; None if nothing is proved, or we are no member."""
        return self._trust.credential.principal if self._trust else None

    def who(self, key: str) -> Principal | None:
        """Return whose the key is just now."""
        return self._trust.roll.who(key) if self._trust else None

    def answering(self, address: str, port: int, got: Asked) -> tuple[DrainTransport, str]:
        """Bind a ROUTER there; return it and its endpoint. Raises Invalid if that cannot be."""
        made, endpoint = self._bound(
            zmq.ROUTER, CALLS, address, port, lambda parts: got(parts, made.sender)
        )
        return made, endpoint

    def publishing(self, address: str, port: int) -> tuple[DrainTransport, str]:
        """Bind a PUB there; return it and its endpoint. Raises Invalid if that cannot be."""
        return self._bound(zmq.PUB, EVENTS, address, port, _nothing)

    def asking(
        self, endpoint: str, got: Got, changed: Callable[[bool], None], key: str = ""
    ) -> DrainTransport:
        """Connect a DEALER to the endpoint.

        `changed` is called with True once it is connected, and with False when it is not.
        """
        socket = self._guarded(zmq.DEALER)
        monitor = socket.get_monitor_socket(LINK_EVENTS)
        watching = self._transport(monitor, Link(changed, endpoint).heard)
        asking = self._transport(socket, got)
        asking.monitor = watching
        if key or self._keys is None:
            asking.attach(endpoint, key)
        else:
            log.warning("a node has no key, so nobody can tell that it is it", endpoint=endpoint)
        return asking

    def hearing(self, got: Got) -> DrainTransport:
        """Make a SUB; connect it to publishers, and subscribe it to channels."""
        return self._transport(self._guarded(zmq.SUB), got)

    async def close(self) -> None:
        """Close those still open; ends when libzmq has let go of all."""
        for transport in tuple(self._opened):
            transport.abort()
        try:
            async with asyncio.timeout(TERM_S):
                await asyncio.to_thread(self._context.term)
        except TimeoutError:
            log.warning("libzmq does not end", after_s=TERM_S)

    def _bound(
        self, kind: zmq.SocketType, door: str, address: str, port: int, got: Got
    ) -> tuple[DrainTransport, str]:
        socket = self._guarded(kind, door)
        host = f"[{address}]" if ":" in address else address
        try:
            socket.bind(f"tcp://{host}:{port or '*'}")
        except zmq.ZMQError as error:
            socket.close(0)
            raise Invalid(f"[bus] cannot listen on {host}:{port}: {error.strerror}") from error
        endpoint = socket.getsockopt_string(zmq.LAST_ENDPOINT)
        return self._transport(socket, got), endpoint.rstrip("\0")

    def _guarded(self, kind: zmq.SocketType, door: str = "") -> Socket:
        socket = self._made(kind)
        if self._keys is not None:
            guard(socket, self._keys, door)
        return socket

    def _made(self, kind: zmq.SocketType) -> Socket:
        socket = self._context.socket(kind)
        for option, value in (OPTIONS | OWN_OPTIONS.get(kind, {})).items():
            socket.setsockopt(option, value)
        return socket

    def _transport(self, socket: Socket, got: Got) -> DrainTransport:
        transport = DrainTransport(socket, Reader(got))
        self._opened.add(transport)
        return transport


def _nothing(_: list[bytes]) -> None:
    """Do nothing: a PUB receives nothing."""
