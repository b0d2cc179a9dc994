"""CURVE: every socket that leaves the process proves that it knows the cluster's secret.

The secret gives one Curve25519 key pair, which all nodes share (RFC 26, CurveZMQ). A server lets
in nobody but the owner of that pair; it says so to libzmq through ZAP (RFC 27).
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence

import zmq
from zmq.utils import z85

from csnode.types import Struct

GATE = "inproc://zeromq.zap.01"  # where libzmq asks whom to let in


class KeyPair(Struct):
    """A Curve25519 key pair, each half as 40 characters of Z85."""

    public: bytes
    secret: bytes


def keys_of(secret: str) -> KeyPair:
    """The cluster's key pair. It is as hard to guess as the secret: use 32 random bytes."""
    half = z85.encode(
        hashlib.blake2b(secret.encode(), digest_size=32, person=b"csnode curve").digest()
    )
    return KeyPair(public=zmq.curve_public(half), secret=half)


def guard(socket: zmq.Socket[bytes], keys: KeyPair, serving: bool) -> None:
    """Make the socket speak CURVE only; `serving` sockets are bound, others connect."""
    socket.setsockopt(zmq.CURVE_PUBLICKEY, keys.public)
    socket.setsockopt(zmq.CURVE_SECRETKEY, keys.secret)
    if serving:
        socket.setsockopt(zmq.CURVE_SERVER, 1)
    else:
        socket.setsockopt(zmq.CURVE_SERVERKEY, keys.public)


def verdict(question: Sequence[bytes], keys: KeyPair) -> list[bytes]:
    """What ZAP is answered: 200 for the owner of our key pair, 400 for everybody else.

    The question's parts: route, empty, version, id, domain, address, identity, mechanism,
    credentials (for CURVE: the client's public key, 32 bytes).
    """
    route, empty, version, id = question[:4]
    known = list(question[7:]) == [b"CURVE", z85.decode(keys.public)]
    status = (b"200", b"OK") if known else (b"400", b"not of this cluster")
    return [route, empty, version, id, *status, b"cluster" if known else b"", b""]
