"""The [api] section of csnode.toml."""

from __future__ import annotations

from csnode.api.call import Options


class ApiConfig(Options, forbid_unknown_fields=True):
    """Where the API is served, what a client may cost us, and what users may do."""

    listen: str | tuple[str, ...] = "127.0.0.1:8080"  # or several; "[::]:8080": IPv4 too; "": none
    body_max: int = 2 * 1024 * 1024  # bytes of a POST; user data is 1 MiB, in Base64 and escapes
    bodies_max: int = 16  # of more than 16 KiB from one address that come in at once; else 429
    proxies: tuple[str, ...] = ()  # addresses whose X-Forwarded-For counts: our own balancers
    origins: tuple[str, ...] = ()  # of pages that may act with a session, besides those of Host
    idle_seconds: float = 75.0  # a connection that sends nothing for so long is closed
    linger_seconds: float = 0.0  # draining: requests are taken until none came for so long (30 s)
    body_seconds: float = 30.0  # how long a client may take to send its body
    event_keep_days: float = 90.0  # what listEvents reaches back; 0: for ever (event.purge.delay)
    events_max: int = 250_000  # the newest that are kept in any case: 1 KiB each, in every api
