"""CURVE: every socket that leaves the process proves that it has a key, and asks others for theirs.

Each machine has a Curve25519 key pair of its own (RFC 26, CurveZMQ). Who connects knows, from the
other's credential, which key he must find. Who is connected to lets in keys on his roll, and says
so to libzmq through ZAP (RFC 27): see gate.py.
"""

from __future__ import annotations

import zmq

from csnode.trust.files import Keys

GATE = "inproc://zeromq.zap.01"  # where libzmq asks whom to let in
USER = "User-Id"  # where libzmq keeps what ZAP said of a message's sender


def guard(socket: zmq.Socket[bytes], keys: Keys, door: str = "") -> None:
    """Make the socket speak CURVE only; one with a door is bound, and lets in who may enter it."""
    socket.setsockopt(zmq.CURVE_PUBLICKEY, keys.public.encode())
    socket.setsockopt(zmq.CURVE_SECRETKEY, keys.secret.encode())
    if door:
        socket.setsockopt(zmq.CURVE_SERVER, 1)
        socket.setsockopt(zmq.ZAP_DOMAIN, door.encode())


def expect(socket: zmq.Socket[bytes], key: str) -> None:
    """Let connections that the socket makes from now on lead only to whoever has the key (Z85)."""
    socket.setsockopt(zmq.CURVE_SERVERKEY, key.encode())
