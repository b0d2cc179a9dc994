"""Passwords, as they are kept: scrypt$n$r$p$salt$hash (RFC 7914), salt and hash in hex.

Each takes some 50 ms and 16 MiB, so both are called in a thread.
"""

from __future__ import annotations

import hashlib
import hmac

from csnode import uuids

N, R, P = 16384, 8, 1
_SALT_BYTES, _HASH_BYTES = 16, 32


def hashed(password: str) -> str:
    """Hash a password, with a new salt."""
    salt = uuids.source.randbytes(_SALT_BYTES)
    return f"scrypt${N}${R}${P}${salt.hex()}${_scrypt(password, salt, N, R, P).hex()}"


def matches(password: str, stored: str) -> bool:
    """Tell whether the password is the one stored; False for what is no such hash."""
    try:
        scheme, n, r, p, salt, hash = stored.split("$")
        if scheme != "scrypt":
            return False
        found = _scrypt(password, bytes.fromhex(salt), int(n), int(r), int(p))
        return hmac.compare_digest(found, bytes.fromhex(hash))
    except ValueError:
        return False


def _scrypt(password: str, salt: bytes, n: int, r: int, p: int) -> bytes:
    return hashlib.scrypt(
        password.encode(), salt=salt, n=n, r=r, p=p, maxmem=256 * n * r, dklen=_HASH_BYTES
    )
