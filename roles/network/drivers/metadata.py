"""Metadata, user data and passwords for guests, over HTTP at their gateway.

As CloudStack's router answers them and cloud-init's CloudStack source reads them: on port 80
GET /latest/meta-data/ (a list), /latest/meta-data/NAME, /latest/NAME, /latest/user-data; on port
8080 the password server, asked by the header DomU_Request. csnode gives no passwords yet, so
that one always says "saved_password": there is none to fetch.

A caller is known by the address he calls from, in his own network: he can ask for nobody else's.
One server answers for all routers: its sockets were opened inside their namespaces.
"""

from __future__ import annotations

import asyncio
import socket
from asyncio import Server, StreamReader, StreamWriter
from collections import Counter
from collections.abc import Callable
from http import HTTPStatus
from urllib.parse import urlsplit

from csnode.model.machine import GuestNic
from csnode.types import NetworkId, Struct
from roles.network.drivers.namespace import enter, in_thread, listening

WEB_PORT, PASSWORD_PORT = 80, 8080
HEAD_MAX = 8192  # bytes of a request
WITHIN_S = 30.0  # for one request and its answer
AT_ONCE = 16  # connections from one address
AT_ONCE_ALL = 256  # from one network: a guest may make up addresses
Find = Callable[[NetworkId, str], GuestNic | None]
Answer = tuple[HTTPStatus, bytes]
Accept = Callable[[StreamReader, StreamWriter], None]
NOT_FOUND: Answer = (HTTPStatus.NOT_FOUND, b"")


class Request(Struct):
    """The parts of a request that matter here; header names are in small letters."""

    method: str
    path: str
    headers: dict[str, str]


Answering = Callable[[GuestNic, Request], Answer]


class Metadata:
    """The server. `find` says which card of a network has an address."""

    def __init__(self, find: Find) -> None:
        self._find = find
        self._open: dict[NetworkId, tuple[int, list[Server]]] = {}
        self._tasks: set[asyncio.Task[None]] = set()
        self._callers: Counter[tuple[NetworkId, str]] = Counter()

    def place(self, network: NetworkId) -> int:
        """Return the inode of the namespace where the network's sockets listen; 0: nowhere."""
        return self._open[network][0] if network in self._open else 0

    async def open(self, network: NetworkId, namespace: str, address: str) -> None:
        """Listen at the address inside the namespace. Raises OSError."""
        self.close(network)

        def sockets() -> tuple[int, socket.socket, socket.socket]:
            inode = enter(namespace)
            web = listening(address, WEB_PORT)
            try:
                return inode, web, listening(address, PASSWORD_PORT)
            except OSError:
                web.close()
                raise

        inode, web, password = await in_thread(sockets)
        servers = [
            await asyncio.start_server(self._accept(network, answer), sock=made, limit=HEAD_MAX)
            for made, answer in ((web, web_answer), (password, password_answer))
        ]
        self._open[network] = inode, servers

    def close(self, network: NetworkId) -> None:
        """Listen there no more."""
        _, servers = self._open.pop(network, (0, []))
        for server in servers:
            server.close()

    async def close_all(self) -> None:
        """Listen nowhere, and drop who is being answered."""
        for network in tuple(self._open):
            self.close(network)
        for task in tuple(self._tasks):
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    def _accept(self, network: NetworkId, answering: Answering) -> Accept:
        """Return what to do with a new connection: answer it in a task of its own."""

        def accept(reader: StreamReader, writer: StreamWriter) -> None:
            caller = network, str(writer.get_extra_info("peername", ("",))[0])
            if self._callers[caller] >= AT_ONCE or self._callers[network, ""] >= AT_ONCE_ALL:
                writer.transport.abort()
                return
            self._callers.update([caller, (network, "")])
            task = asyncio.create_task(self._serve(caller, answering, reader, writer))
            self._tasks.add(task)
            task.add_done_callback(self._tasks.discard)

        return accept

    async def _serve(
        self,
        caller: tuple[NetworkId, str],
        answering: Answering,
        reader: StreamReader,
        writer: StreamWriter,
    ) -> None:
        """Give one request one answer; whoever is slow or makes no sense is hung up on."""
        try:
            async with asyncio.timeout(WITHIN_S):
                head = await reader.readuntil(b"\r\n\r\n")
                request = parse(head)
                nic = self._find(*caller)
                status, body = answering(nic, request) if nic else NOT_FOUND
                writer.write(reply(request, status, body))
                await writer.drain()
                writer.close()
                await writer.wait_closed()
        except (TimeoutError, OSError, EOFError, asyncio.LimitOverrunError, ValueError):
            pass  # a guest's trouble, not ours
        finally:
            writer.transport.abort()
            for key in (caller, (caller[0], "")):
                self._callers[key] -= 1
                if not self._callers[key]:
                    del self._callers[key]


def parse(head: bytes) -> Request:
    """Read a request's head. Raises ValueError if it is none."""
    first, *lines = head.decode("latin-1").split("\r\n")
    method, target, _ = first.split(" ")
    pairs = (line.partition(":") for line in lines if line)
    headers = {name.strip().lower(): value.strip() for name, _, value in pairs}
    return Request(method=method, path=urlsplit(target).path, headers=headers)


def reply(request: Request, status: HTTPStatus, body: bytes) -> bytes:
    """Return the answer's bytes; HEAD gets no body."""
    head = (
        f"HTTP/1.1 {status} {status.phrase}\r\nContent-Type: text/plain\r\n"
        f"Content-Length: {len(body)}\r\nConnection: close\r\n\r\n"
    )
    return head.encode() + (b"" if request.method == "HEAD" else body)


def web_answer(nic: GuestNic, request: Request) -> Answer:
    """Return what the card's machine may read on port 80."""
    if request.method not in {"GET", "HEAD"}:
        return HTTPStatus.METHOD_NOT_ALLOWED, b""
    match [part for part in request.path.split("/") if part]:
        case ["latest", "user-data"]:
            return HTTPStatus.OK, nic.user_data
        case ["latest", "meta-data"]:
            return HTTPStatus.OK, "\n".join(nic.metadata).encode()
        case ["latest", "meta-data", name] | ["latest", name] if name in nic.metadata:
            return HTTPStatus.OK, nic.metadata[name].encode()
        case _:
            return NOT_FOUND


def password_answer(_: GuestNic, request: Request) -> Answer:
    """Return what CloudStack's password server says to a machine without a new password."""
    if request.headers.get("domu_request") in {"send_my_password", "saved_password"}:
        return HTTPStatus.OK, b"saved_password"
    return HTTPStatus.OK, b"bad_request"
