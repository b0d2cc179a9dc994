"""Where a request comes from: the address that sent it, and the site whose page made it.

A browser sends its cookies with requests that another site's page makes. It says so in
Sec-Fetch-Site (W3C Fetch Metadata); a browser without that header names the page's site in
Origin (RFC 6454). Other clients send neither.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from ipaddress import IPv4Address, IPv6Address, IPv6Network, ip_address
from urllib.parse import urlsplit

PORTS = {"http": 80, "https": 443}
FOREIGN = (
    "This request was made by a page of another site, which may not act in a user's session. "
    "An operator may allow that site in [api] origins."
)


def is_foreign(headers: Mapping[str, str], origins: Collection[str] = ()) -> bool:
    """Tell whether another site's page made the request.

    `origins` are ours besides the Host that was asked, as "https://cloud.example". A browser that
    says same-origin is believed: no page can make it say so, and a proxy may have changed Host.
    """
    origin = headers.get("Origin", "").lower()
    if origin and origin in {one.lower().rstrip("/") for one in origins}:
        return False
    fetched = headers.get("Sec-Fetch-Site", "").lower()
    if fetched:
        return fetched not in ("same-origin", "none")
    return bool(origin) and not _is_at(origin, headers.get("Host", "").lower())


def _is_at(origin: str, host: str) -> bool:
    """Tell whether an origin is that host; the scheme's own port may be left out."""
    try:
        page = urlsplit(origin)
        asked = urlsplit(f"//{host}")
        usual = PORTS.get(page.scheme)
        ports = page.port or usual, asked.port or usual
    except ValueError:
        return False
    return bool(page.hostname) and page.hostname == asked.hostname and ports[0] == ports[1]


def sender(remote: str, forwarded: str, proxies: Collection[str]) -> str:
    """Name the address that sent a request: behind our own proxies, the one that they saw. Of
    IPv6 its /64, for each host has all the addresses of one.

    `forwarded` is X-Forwarded-For, to which each proxy appends whom it was asked by. What others
    have written into it counts for nothing.
    """
    seen = [part.strip() for part in forwarded.split(",") if part.strip()]
    while str(_address(remote) or remote) in proxies and seen:
        remote = seen.pop()
    address = _address(remote)
    if isinstance(address, IPv6Address):
        return str(IPv6Network((int(address), 64), strict=False))
    return str(address or remote)


def _address(text: str) -> IPv4Address | IPv6Address | None:
    """Read an address; an IPv4 one as such, even from a socket for both kinds."""
    try:
        address = ip_address(text)
    except ValueError:
        return None
    return (address.ipv4_mapped or address) if isinstance(address, IPv6Address) else address
