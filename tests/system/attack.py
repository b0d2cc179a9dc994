"""What attackers do: strangers on the network, and whoever took over a machine that runs guests."""

from __future__ import annotations

import asyncio
import os
import socket
import struct
import threading
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import msgspec
import zmq

from csnode.bus.envelope import Answer, Failure, Request, asked
from csnode.bus.transport import DrainTransport, Sockets
from csnode.clock import wall
from csnode.config import Config, DirectoryConfig
from csnode.context import Context
from csnode.directory.beacon import Beacon, Says, Seal
from csnode.directory.directory import Member, Serving
from csnode.trust.files import Keys
from csnode.trust.trust import Trust
from csnode.types import NodeId

HOST = ("compute", "network", "storage")
GREETING = 64  # bytes that libzmq says to everybody: its signature, version and mechanism


def listening(*pids: int) -> set[tuple[str, int]]:
    """Addresses and TCP ports at which these processes wait for connections (IPv4)."""
    inodes: set[str] = set()
    for pid in pids:
        for file in Path(f"/proc/{pid}/fd").iterdir():
            try:
                inodes.add(os.readlink(file).removeprefix("socket:[").removesuffix("]"))
            except FileNotFoundError:
                continue
    found: set[tuple[str, int]] = set()
    for table in ("tcp", "tcp6"):
        for line in Path(f"/proc/net/{table}").read_text().splitlines()[1:]:
            words = line.split()
            if words[3] == "0A" and words[9] in inodes:
                address, port = words[1].split(":")
                raw = struct.pack("<I", int(address[-8:], 16))
                found.add((socket.inet_ntoa(raw), int(port, 16)))
    return found


def answer_to(address: tuple[str, int], said: bytes, within_s: float = 6.0) -> bytes:
    """All that a port says to somebody who says that, until it hangs up."""
    heard, until = b"", time.monotonic() + within_s
    with socket.create_connection(address, within_s) as line:
        try:
            line.sendall(said)
            while time.monotonic() < until:
                line.settimeout(max(0.05, until - time.monotonic()))
                more = line.recv(65536)
                if not more:
                    break
                heard += more
        except OSError:
            pass
    return heard


class Knock:
    """A libzmq client of any mechanism that asks for a row, and what it gets to see."""

    def __init__(
        self,
        context: zmq.Context[Any],
        endpoint: str,
        *,
        kind: int = zmq.DEALER,
        keys: Keys | None = None,
        server: str = "",
        plain: bool = False,
    ) -> None:
        self.socket = context.socket(kind)
        self.socket.setsockopt(zmq.LINGER, 0)
        if keys is not None:
            self.socket.setsockopt(zmq.CURVE_PUBLICKEY, keys.public.encode())
            self.socket.setsockopt(zmq.CURVE_SECRETKEY, keys.secret.encode())
            self.socket.setsockopt(zmq.CURVE_SERVERKEY, server.encode())
        if plain:
            self.socket.setsockopt(zmq.PLAIN_USERNAME, b"admin")
            self.socket.setsockopt(zmq.PLAIN_PASSWORD, b"admin")
        self.monitor = self.socket.get_monitor_socket(zmq.EVENT_HANDSHAKE_SUCCEEDED)
        self.socket.connect(endpoint)
        if kind == zmq.SUB:
            self.socket.setsockopt(zmq.SUBSCRIBE, b"")
        else:
            self.socket.send(msgspec.msgpack.encode([request(1, "Data.head", [("user",)])]), 0)

    def heard(self) -> bool:
        """Whether it was let in, or told anything."""
        return bool(self.monitor.poll(0) or self.socket.poll(0))

    def close(self) -> None:
        self.socket.disable_monitor()
        self.monitor.close(0)
        self.socket.close(0)


def request(
    id: int, method: str, arguments: Any, at: str | None = None, caller: str = ""
) -> Request:
    """A call, as it goes over the wire."""
    return Request(
        id=id, method=method, at=at, remaining_ms=5000, context=Context(caller=caller),
        arguments=msgspec.Raw(msgspec.msgpack.encode(arguments)),
    )  # fmt: skip


class Air:
    """The directory's group on loopback: everything said there is heard, and anything can be."""

    def __init__(self, config: Config) -> None:
        chosen = config.section("directory", DirectoryConfig)
        self.group = (chosen.group, chosen.port)
        self.socket = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        self.socket.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        self.socket.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
        self.socket.bind(self.group)
        loopback = struct.pack("=4s4si", socket.inet_aton(chosen.group), bytes(4), 1)
        self.socket.setsockopt(socket.IPPROTO_IP, socket.IP_ADD_MEMBERSHIP, loopback)
        self.socket.setsockopt(socket.IPPROTO_IP, socket.IP_MULTICAST_IF, loopback)

    def captured(self, seal: Seal, host: str, within_s: float = 5.0) -> bytes:
        """A beacon of that machine, as it was sent."""
        until = time.monotonic() + within_s
        self.socket.settimeout(within_s)
        while time.monotonic() < until:
            datagram = self.socket.recv(65507)
            beacon = seal.opened(datagram)
            if beacon is not None and beacon.member is not None and beacon.member.host == host:
                return datagram
        raise AssertionError(f"no beacon of {host}")

    def say(self, datagram: bytes) -> None:
        self.socket.sendto(datagram, self.group)

    def close(self) -> None:
        self.socket.close()


def member(trust: Trust, node: str, **more: Any) -> Member:
    """A record that a machine might announce."""
    host = node.partition("/")[0]
    said: dict[str, Any] = {
        "node": NodeId(node), "cluster": trust.credential.cluster, "number": 1,
        "incarnation": int(wall() * 1000), "host": host, "roles": (), "serves": (),
        "calls": "tcp://127.0.0.1:9", "events": "", "key": trust.keys.public,
    }  # fmt: skip
    return Member(**(said | more))


def beacon(trust: Trust, member: Member, beat: int = 1, **more: Any) -> bytes:
    """A datagram that a machine signs with its own key."""
    said = Beacon(says=Says.HERE, beat=beat, member=member, **more)
    return Seal(trust.credential.cluster, trust).packed(said)


class Impostor:
    """A host's own key, with a server behind it that answers what it likes."""

    def __init__(self, trust: Trust, replies: Sequence[bytes | None]) -> None:
        """`replies`: frames, given in turn; "%d" of a frame's id must be filled in by `answers`."""
        self._sockets = Sockets(trust)
        self._replies, self.asked = replies, 0
        self._line: DrainTransport
        self._line, self.endpoint = self._sockets.answering("127.0.0.1", 0, self._got)

    def meet(self, *others: Trust) -> None:
        for other in others:
            assert self._sockets._trust is not None
            self._sockets._trust.roll.meet(other.signed)

    def _got(self, parts: list[bytes], _: str) -> None:
        for message in asked(parts[-1]):
            if isinstance(message, Request):
                frame = self._replies[self.asked % len(self._replies)]
                self.asked += 1
                if frame is not None:
                    self._line.write((parts[0], frame.replace(MARK, id_of(message.id))))

    async def close(self) -> None:
        self._line.abort()
        await self._sockets.close()


async def impersonated(
    trust: Trust,
    others: Sequence[Trust],
    serves: tuple[Serving, ...],
    air: Air,
    over: threading.Event,
    answered: list[int],
) -> None:
    """Until it is over, a machine's own node is one that answers what no honest one does."""
    evil = Impostor(trust, hostile())
    evil.meet(*others)
    own = member(
        trust, f"{trust.credential.name}/{'+'.join(HOST)}", serves=serves, roles=HOST,
        calls=evil.endpoint,
    )  # fmt: skip
    beat = 0
    while not over.is_set():
        air.say(beacon(trust, own, beat := beat + 1))
        await asyncio.sleep(0.5)
        answered.extend(range(len(answered), evil.asked))
    await evil.close()


MARK = b"\xcf\xff\xff\xff\xff\xff\xff\xff\xfe"  # where a reply has its call's id


def id_of(id: int) -> bytes:
    """A call's id, in nine bytes of msgpack."""
    return b"\xcf" + id.to_bytes(8, "big")


def hostile() -> tuple[bytes | None, ...]:
    """Answers that no honest host gives."""
    id = int.from_bytes(MARK[1:], "big")
    pack = msgspec.msgpack.encode
    deep = b"\x91" * 100_000 + b"\xc0"
    long = pack([Failure(id=id, kind="Denied", message="x" * 9_000_000, detail="y" * 5_000_000,
                         code=99999, cs=-(10**15))])  # fmt: skip
    answer = pack([Answer(id=id, value=msgspec.Raw(b"\xc0"))])
    return (
        b"\xff" * 1000,
        answer[:-1] + deep,
        pack([Answer(id=id, value=msgspec.Raw(pack({"a": [1, "b", None]})))]),
        pack([Answer(id=id, value=msgspec.Raw(pack("z" * 16_500_000)))]),
        long,
        pack([Failure(id=id, kind="Fault", message="\x1b[2J\r\n", detail="", code=-1, cs=0)]),
        pack([Failure(id=id, kind="NoSuchKind", message="", detail="", code=200, cs=2**62)]),
        pack([Answer(id=id, value=msgspec.Raw(pack(2**63)))] * 1000),
        None,  # never
        pack(["w" * 18_000_000]),  # more than MAXMSGSIZE: the connection is cut
    )


def serving(contract: str, *places: str) -> tuple[Serving, ...]:
    return (Serving(contract=contract, at=places),)
