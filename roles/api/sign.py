"""The signature of a request made with an API key: HMAC-SHA1, as CloudStack's ApiServer checks it.

The exact rule is tried first; then what real clients do differently: they leave `~` as it is,
libcloud leaves `[` and `]` too, Go encodes `*`, and Marvin and libcloud sort by the lower-cased
name. Each value is encoded once, by the exact rule; what others do is made from that.
"""

from __future__ import annotations

import base64
import hmac
from collections.abc import Iterator, Mapping, Sequence

from csnode.api.parse import moment
from roles.api.form import breathe

PIECE = 16 * 1024  # bytes encoded before other threads have their turn
_PLAIN = frozenset(b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789.-*_")
_SIGNED = {byte: chr(byte).lower() if byte in _PLAIN else f"%{byte:02x}" for byte in range(256)}
TILDE, STAR = ((b"%7e", b"~"),), ((b"*", b"%2a"),)
BRACKETS = ((b"%5b", b"["), (b"%5d", b"]"))
Pieces = Sequence[bytes]
Swaps = tuple[tuple[bytes, bytes], ...]


def verified(received: Mapping[str, str], secret: str) -> bool:
    """Tell whether the signature is right. Names are as received: their case counts."""
    given = b""
    signed: dict[str, str] = {}
    for name, value in received.items():
        if name.lower() == "signature":
            given = value.encode()
        else:
            signed[name] = value
    return any(
        hmac.compare_digest(base64.b64encode(digest), given)
        for digest in _digests(signed, secret.encode())
    )


def current(params: Mapping[str, str], now: float) -> bool:
    """Tell whether a request of signature version 3 is still good; the others never expire.

    `params` have lower-case names; `now` is in seconds since 1970.
    """
    if params.get("signatureversion") != "3":
        return True
    ends = moment(params.get("expires", "").replace(" ", "+"))
    return ends is not None and now <= ends


def _digests(signed: Mapping[str, str], key: bytes) -> Iterator[bytes]:
    """Yield the signatures of what may have been signed, likeliest first."""
    values = {name: encoded(value) for name, value in signed.items()}
    exact = sorted(values)
    other = sorted(exact, key=str.lower)
    for order in [exact] if other == exact else [exact, other]:
        for swaps in _habits("".join(signed.values())):
            yield _digest(key, [(name, values[name]) for name in order], swaps)


def _habits(values: str) -> list[Swaps]:
    """List in what the texts of these values may differ from the exact rule's."""
    habits: list[Swaps] = [()]
    if "~" in values:
        habits.append(TILDE)
    if "[" in values or "]" in values:
        habits.append(TILDE + BRACKETS)
    if "*" in values:
        habits.append(TILDE + STAR)
    return habits


def _digest(key: bytes, pairs: Sequence[tuple[str, Pieces]], swaps: Swaps) -> bytes:
    made = hmac.new(key, digestmod="sha1")
    between = ""
    for name, pieces in pairs:
        made.update(f"{between}{name}=".lower().encode(errors="replace"))
        between = "&"
        for piece in pieces:
            for exact, habit in swaps:
                piece = piece.replace(exact, habit)  # noqa: PLW2901
            made.update(piece)
    return made.digest()


def encoded(value: str) -> Pieces:
    """Encode a value as it is signed: as Java's URLEncoder does, in lower case, %20 for a space.

    That leaves letters, digits and .-*_ alone. A long value takes 50 ms, so it is encoded in
    pieces, and other threads have their turn between two.
    """
    raw = value.encode(errors="replace")
    pieces: list[bytes] = []
    for start in range(0, len(raw), PIECE):
        if start:
            breathe()
        part = raw[start : start + PIECE].decode("latin-1")
        pieces.append(part.translate(_SIGNED).encode())
    return pieces
