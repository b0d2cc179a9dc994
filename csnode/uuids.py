"""The only file that makes up ids and secrets; seeded under test."""

from __future__ import annotations

import base64
import random
import uuid

source: random.Random = random.SystemRandom()  # the virtual world puts random.Random(seed) here
_NAMESPACE = uuid.UUID("5c5f0e0c-6c1a-5d0e-9a57-637369646e6f")


def new_id() -> str:
    """Make a fresh id, in the form CloudStack's clients expect (RFC 4122, version 4)."""
    return str(uuid.UUID(int=source.getrandbits(128), version=4))


def id_of(*names: str) -> str:
    """Return the id of a thing known by its name: the same names give the same id everywhere."""
    return str(uuid.uuid5(_NAMESPACE, "/".join(names)))


def new_secret(size: int) -> str:
    """Make that many random bytes, URL-safe Base64 without padding."""
    return base64.urlsafe_b64encode(source.randbytes(size)).rstrip(b"=").decode()
