"""Credentials as rows hold them."""

from __future__ import annotations

import base64

import msgspec

from csnode.trust.credential import Signed


def packed(credential: Signed) -> str:
    """Pack for a row."""
    return base64.b64encode(msgspec.msgpack.encode(credential)).decode()


def unpacked(text: str) -> Signed:
    """Unpack from a row."""
    return msgspec.msgpack.decode(base64.b64decode(text), type=Signed)
