"""How a cluster's key gives way to another: a statement of which keys count, signed by one.

Whoever trusts the signer comes to trust the keys it names, and nothing else. Three statements make
a change: the old and the new, the new and the old, the new alone.
"""

from __future__ import annotations

import base64
import binascii
from collections.abc import Collection

import msgspec
from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey

from csnode.types import Message

MARK = b"csnode succession\0"  # nothing else that the cluster signs begins so


class Succession(Message):
    """The cluster's public keys that count; the first one signs what is new."""

    cluster: str
    keys: tuple[bytes, ...]
    serial: int  # a later statement has a higher one
    signer: bytes = b""
    signature: bytes = b""

    @property
    def said(self) -> bytes:
        """What the signature is of."""
        return MARK + msgspec.msgpack.encode((self.cluster, self.keys, self.serial))

    def holds(self, cluster: str, trusted: Collection[bytes]) -> bool:
        """Tell whether one of these keys signed it."""
        if self.cluster != cluster or not self.keys or self.signer not in trusted:
            return False
        try:
            Ed25519PublicKey.from_public_bytes(self.signer).verify(self.signature, self.said)
        except (InvalidSignature, ValueError):
            return False
        return True

    @property
    def packed(self) -> str:
        """As a row holds it."""
        return base64.b64encode(msgspec.msgpack.encode(self)).decode()


def stated(cluster: str, keys: tuple[bytes, ...], serial: int, by: Ed25519PrivateKey) -> Succession:
    """Make a statement, signed."""
    bare = Succession(cluster=cluster, keys=keys, serial=serial)
    signer = by.public_key().public_bytes_raw()
    return msgspec.structs.replace(bare, signer=signer, signature=by.sign(bare.said))


def newest(texts: Collection[str], cluster: str, trusted: Collection[bytes]) -> Succession | None:
    """Return the latest of these statements that is to be believed."""
    best: Succession | None = None
    for text in texts:
        try:
            one = msgspec.msgpack.decode(base64.b64decode(text), type=Succession)
        except (binascii.Error, msgspec.DecodeError):
            continue
        later = best is None or one.serial > best.serial
        if later and one.holds(cluster, trusted):
            best = one
    return best
