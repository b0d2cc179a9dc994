"""A credential: what the cluster says of a machine, signed with the cluster's key (Ed25519).

The same bytes stand in the machine's file, in the data service and in each of its beacons:
whoever has the cluster's public key can tell that they are true, whoever sent them.
"""

from __future__ import annotations

import msgspec
from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey

from csnode.context import Principal
from csnode.faults import Denied
from csnode.types import Message

MARK = b"csnode credential\0"  # nothing else that the cluster signs begins so


class Credential(Message):
    """A machine, and what it may be. Times are seconds since 1970."""

    cluster: str  # its name
    name: str  # of the machine: [node] host of every process on it
    roles: tuple[str, ...]
    places: tuple[str, ...]  # HostIds and PoolIds that it may speak for
    key: str  # Curve25519, public, Z85: of its connections
    verify: bytes  # Ed25519, public, 32 bytes: of what it signs, its beacons for one
    serial: int
    since: float
    until: float

    @property
    def principal(self) -> Principal:
        """What its bearer is, to whom it calls."""
        return Principal(name=self.name, roles=frozenset(self.roles), places=frozenset(self.places))


class Signed(Message):
    """A credential as it travels."""

    body: bytes
    signer: bytes  # Ed25519, public: one of the cluster's keys
    signature: bytes

    def opened(self, cluster_keys: frozenset[bytes], at: float) -> Credential:
        """Open the credential. Raises Denied if none of these keys signed it, or its time is over.

        One whose time is to come is good: the cluster signed it, so it is our clock that is behind.
        """
        if self.signer not in cluster_keys:
            raise Denied("a credential of another cluster")
        try:
            public = Ed25519PublicKey.from_public_bytes(self.signer)
            public.verify(self.signature, MARK + self.body)
            credential = msgspec.msgpack.decode(self.body, type=Credential)
        except (InvalidSignature, ValueError, msgspec.DecodeError):
            raise Denied("a credential that was tampered with") from None
        if at > credential.until:
            raise Denied(f"the credential of {credential.name} is over")
        return credential


def signed(credential: Credential, key: Ed25519PrivateKey) -> Signed:
    """Sign the credential: the cluster's key vouches for it."""
    body = msgspec.msgpack.encode(credential)
    return Signed(
        body=body,
        signer=key.public_key().public_bytes_raw(),
        signature=key.sign(MARK + body),
    )
