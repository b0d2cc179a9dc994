"""The beacon: the datagram by which a node says that it is there, and what it is.

With a credential a datagram is: the byte 2 | msgpack: the machine's credential, what is said (a
time stamp and the beacon), and the signature of that by the machine's Ed25519 key. It is believed
as far as the credential goes (allowed.py), and within 90 s of its stamp. Signing takes some 25 us
and checking 70 us (a credential that is new some 100 more): with 100 nodes, 0.7 % of a core.

Without one it is: the byte 1 | 16 bytes, BLAKE2b (RFC 7693) over byte and body | the body, msgpack.
Its key is made of the cluster's name and the machine's local key, which other users of the machine
do not have. Without a local key it keeps clusters apart, and nobody out. For loopback only.

A beacon is heard once: its (incarnation, beat) must be higher than the last heard of its node.
"""

from __future__ import annotations

import hashlib
import hmac
from enum import StrEnum

import msgspec
from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey

from csnode.clock import own_wall
from csnode.directory import allowed
from csnode.directory.directory import Member
from csnode.faults import Denied
from csnode.trust.credential import Credential, Signed
from csnode.trust.refusals import Refusals
from csnode.trust.trust import Trust
from csnode.types import Message

PLAIN, SIGNED = b"\x01", b"\x02"
MARK = 16  # bytes of BLAKE2b
SPOKEN = b"csnode beacon\0"  # what a machine signs begins so
DATAGRAM_MAX = 65507  # bytes, of UDP over IPv4
MEMBER_MAX = 60_000  # bytes of it that a node's record may take
FRESH_S = 90.0  # how far the stamp may be from our clock
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


class Said(Message):
    """What a machine signs."""

    at: float  # seconds since 1970
    beacon: Beacon


class Spoken(Message):
    """A signed datagram, without its first byte."""

    credential: Signed
    said: bytes
    signature: bytes


_beacon = msgspec.msgpack.Decoder(Beacon)
_said = msgspec.msgpack.Decoder(Said)
_spoken = msgspec.msgpack.Decoder(Spoken)
_encode = msgspec.msgpack.Encoder().encode


class Seal:
    """Packs beacons of one cluster, and tells them from everything else."""

    def __init__(self, cluster: str, trust: Trust | None = None, mark: bytes = b"") -> None:
        """Make a seal; `mark` is the secret of a machine without credential."""
        self.cluster, self._trust = cluster, trust
        self.keyed = bool(trust)  # else nobody beyond this machine may listen
        self.refusals = Refusals("beacon")
        self._key = hashlib.blake2b(
            key=hashlib.sha256(mark + cluster.encode()).digest(), person=b"csnode beacon"
        ).digest()
        self._verifiers: dict[bytes, Ed25519PublicKey] = {}

    def packed(self, beacon: Beacon) -> bytes:
        """Write the beacon's datagram."""
        trust = self._trust
        if not trust:
            body = _encode(beacon)
            return PLAIN + self._mark(body) + body
        said = _encode(Said(at=own_wall(), beacon=beacon))
        spoken = Spoken(credential=trust.signed, said=said, signature=trust.sign(SPOKEN + said))
        return SIGNED + _encode(spoken)

    def opened(self, datagram: bytes) -> Beacon | None:
        """Return the beacon; None if it is not one of this cluster, or may not say what it says."""
        if not self._trust:
            return self._plain(datagram)
        try:
            return self._signed(datagram, self._trust)
        except Denied as denied:
            self.refusals.note(denied.detail or "somebody", denied.message)
        except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
            self.refusals.note("somebody", "it is no signed beacon")
        return None

    def _plain(self, datagram: bytes) -> Beacon | None:
        mark, body = datagram[1 : 1 + MARK], datagram[1 + MARK :]
        if datagram[:1] != PLAIN or not hmac.compare_digest(mark, self._mark(body)):
            return None
        try:
            return _beacon.decode(body)
        except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
            return None

    def _signed(self, datagram: bytes, trust: Trust) -> Beacon:
        """Read the beacon that a datagram holds. Raises Denied and DecodeError."""
        if datagram[:1] != SIGNED:
            raise Denied("it is no signed beacon")
        spoken = _spoken.decode(datagram[1:])
        said = _said.decode(spoken.said)
        credential = trust.roll.meet(spoken.credential)
        self._check_signature(credential, spoken)
        if abs(said.at - own_wall()) > FRESH_S:
            late = said.at - own_wall()
            raise Denied("it was sent at another time; are the clocks right?",
                         detail=f"{credential.name}, by {late:+.0f} s")  # fmt: skip
        if said.beacon.member is not None:
            who = trust.roll.who(credential.key)
            if who is None or said.beacon.member.cluster != self.cluster:
                raise Denied("it is not of this cluster", detail=credential.name)
            allowed.check(said.beacon.member, who, credential.key)
        return said.beacon

    def _check_signature(self, credential: Credential, spoken: Spoken) -> None:
        try:
            public = self._verifiers.get(credential.verify)
            if public is None:
                public = Ed25519PublicKey.from_public_bytes(credential.verify)
                self._verifiers[credential.verify] = public
            public.verify(spoken.signature, SPOKEN + spoken.said)
        except (InvalidSignature, ValueError):
            raise Denied(
                "it is not signed by the machine it says to be", detail=credential.name
            ) from None

    def _mark(self, body: bytes) -> bytes:
        return hashlib.blake2b(PLAIN + body, key=self._key, digest_size=MARK).digest()
