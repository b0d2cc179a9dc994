"""The beacon: the datagram by which a node says that it is there, and what it is.

A datagram is: one byte, the epoch of the key | 16 bytes, BLAKE2b keyed by the cluster's secret
(RFC 7693) over epoch and body | the body, msgpack. Without a secret the key is the cluster's name:
that keeps clusters apart, and nobody out. A beacon is heard once: its (incarnation, beat) must be
higher than the last one heard of its node.
"""

from __future__ import annotations

import hashlib
import hmac
from enum import StrEnum

import msgspec

from csnode.directory.directory import Member
from csnode.types import Message

EPOCH = b"\x01"
MARK = 16  # bytes of BLAKE2b
DATAGRAM_MAX = 65507  # bytes, of UDP over IPv4
MEMBER_MAX = 60_000  # bytes of it that a node's record may take
Address = tuple[str, int]


class Says(StrEnum):
    """What a beacon is sent for."""

    HERE = "here"  # I am there, and this is what I am
    WHO = "who"  # and please tell me the same, at the address this came from
    BYE = "bye"  # I am leaving


class Beacon(Message):
    """One datagram's body."""

    says: Says
    beat: int = 0  # grows with every beacon of an incarnation
    member: Member | None = None  # None: it only listens
    others: tuple[Address, ...] = ()  # where others can be told of the sender


class Seal:
    """Packs beacons of one cluster, and tells them from everything else."""

    def __init__(self, cluster: str, secret: str) -> None:
        self.cluster, self.keyed = cluster, bool(secret)
        self._key = hashlib.blake2b(
            secret.encode(), key=hashlib.sha256(cluster.encode()).digest(), person=b"csnode beacon"
        ).digest()
        self._decoder = msgspec.msgpack.Decoder(Beacon)
        self._encoder = msgspec.msgpack.Encoder()

    def packed(self, beacon: Beacon) -> bytes:
        """The datagram."""
        body = self._encoder.encode(beacon)
        return EPOCH + self._mark(body) + body

    def opened(self, datagram: bytes) -> Beacon | None:
        """The beacon; None if it is not one of this cluster."""
        mark, body = datagram[1 : 1 + MARK], datagram[1 + MARK :]
        if datagram[:1] != EPOCH or not hmac.compare_digest(mark, self._mark(body)):
            return None
        try:
            return self._decoder.decode(body)
        except msgspec.DecodeError:
            return None

    def _mark(self, body: bytes) -> bytes:
        return hashlib.blake2b(EPOCH + body, key=self._key, digest_size=MARK).digest()
