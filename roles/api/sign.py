"""The signature of a request made with an API key: HMAC-SHA1, as CloudStack's ApiServer checks it.

The exact rule is tried first; then what real clients do differently: they leave `~` as it is,
libcloud leaves `[` and `]` too, Go encodes `*`, and Marvin and libcloud sort by the lower-cased
name.
"""

from __future__ import annotations

import base64
import hmac
from collections.abc import Iterator, Mapping
from urllib.parse import quote

from csnode.api.parse import moment


def verified(received: Mapping[str, str], secret: str) -> bool:
    """Whether the signature is right. Names are as received: their case counts."""
    given = b""
    signed: list[tuple[str, str]] = []
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


def _texts(signed: list[tuple[str, str]]) -> Iterator[bytes]:
    """What may have been signed, likeliest first."""
    signed.sort()
    yield _text(signed, exact=True)
    other = sorted(signed, key=lambda pair: pair[0].lower())
    orders = [signed] if other == signed else [signed, other]
    values = "".join(value for _, value in signed)
    for order in orders:
        if order is not signed:
            yield _text(order, exact=True)
        if "~" in values:
            yield _text(order, exact=False)
        if "[" in values or "]" in values:
            yield _text(order, exact=False, safe="*[]")
        if "*" in values:
            yield _text(order, exact=False, safe="")


def _text(signed: list[tuple[str, str]], *, exact: bool, safe: str = "*") -> bytes:
    """Java's URLEncoder leaves letters, digits and .-*_ alone; Python's quote leaves ~ too."""
    text = "&".join([f"{name}={quote(value, safe)}" for name, value in signed]).lower()
    return (text.replace("~", "%7e") if exact else text).encode()
