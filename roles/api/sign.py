"""The signature of a request made with an API key: HMAC-SHA1, as CloudStack's ApiServer checks it.

The exact rule is tried first; then what real clients do differently: they leave `~` as it is,
libcloud leaves `[` and `]` too, Go encodes `*`, and Marvin and libcloud sort by the lower-cased
name. Each value is encoded once, by the exact rule; what others do is made from that.
"""

from __future__ import annotations

import base64
import hmac
import time
from collections.abc import Iterator, Mapping

from csnode.api.parse import moment

PIECE = 16 * 1024  # bytes encoded before another thread may go on
_PLAIN = frozenset(b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789.-*_")
_ENCODED = {byte: chr(byte) if byte in _PLAIN else f"%{byte:02x}" for byte in range(256)}
TILDE, BRACKETS, STAR = (("%7e", "~"),), (("%5b", "["), ("%5d", "]")), (("*", "%2a"),)
Pairs = list[tuple[str, str]]
Swaps = tuple[tuple[str, str], ...]


def verified(received: Mapping[str, str], secret: str) -> bool:
    """Whether the signature is right. Names are as received: their case counts."""
    given = b""
    signed: Pairs = []
    for name, value in received.items():
        if name.lower() == "signature":
            given = value.encode()
        else:
            signed.append((name, value))
    key = secret.encode()
    return any(
        hmac.compare_digest(base64.b64encode(hmac.digest(key, text, "sha1")), given)
        for text in _texts(signed)
    )


def current(params: Mapping[str, str], now: float) -> bool:
    """Whether a request of signature version 3 is still good; the others never expire.

    `params` have lower-case names; `now` is in seconds since 1970.
    """
    if params.get("signatureversion") != "3":
        return True
    ends = moment(params.get("expires", "").replace(" ", "+"))
    return ends is not None and now <= ends


def _texts(signed: Pairs) -> Iterator[bytes]:
    """What may have been signed, likeliest first."""
    exact = sorted((name, quoted(value)) for name, value in signed)
    other = sorted(exact, key=lambda pair: pair[0].lower())
    habits = _habits("".join(value for _, value in signed))
    for order in [exact] if other == exact else [exact, other]:
        for swaps in habits:
            yield _text(order, swaps)


def _habits(values: str) -> list[Swaps]:
    """In what the texts of these values may differ from the exact rule's."""
    habits: list[Swaps] = [()]
    if "~" in values:
        habits.append(TILDE)
    if "[" in values or "]" in values:
        habits.append(TILDE + BRACKETS)
    if "*" in values:
        habits.append(TILDE + STAR)
    return habits


def _text(pairs: Pairs, swaps: Swaps) -> bytes:
    values = [value for _, value in pairs]
    for encoded, plain in swaps:
        values = [value.replace(encoded, plain) for value in values]
    parts = [f"{name}={value}" for (name, _), value in zip(pairs, values, strict=True)]
    return "&".join(parts).lower().encode(errors="replace")


def quoted(value: str) -> str:
    """Encode a value as Java's URLEncoder does, with digits in lower case and %20 for a space.

    It leaves letters, digits and .-*_ alone. A long one takes 50 ms: it is encoded in pieces, with
    a breath for other threads between two.
    """
    raw = value.encode(errors="replace")
    pieces: list[str] = []
    for start in range(0, len(raw), PIECE):
        if start:
            time.sleep(0)  # noqa: TID251 (in a thread: it gives the interpreter's lock away)
        pieces.append(raw[start : start + PIECE].decode("latin-1").translate(_ENCODED))
    return "".join(pieces)
