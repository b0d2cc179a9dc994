"""Answers as they go out: one top-level key, one line of JSON, or the same as XML."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, NamedTuple

import msgspec

from csnode.api.about import Rank
from csnode.api.command import Declaration
from csnode.api.shelf import Listing
from csnode.faults import Broken, Fault, Unavailable
from roles.api.xml import document

JSON = "application/json; charset=UTF-8"
XML = "text/xml; charset=UTF-8"
HIDDEN = "Internal error executing command, please contact your system administrator"


class Away(Unavailable):
    """What the API itself needs is away: no inner cause, so everybody is told."""


class Reply(NamedTuple):
    """An answer, ready to send."""

    status: int
    headers: list[tuple[str, str]]
    body: bytes
    reason: str = ""


def listing(wrapper: str, key: str, page: Listing) -> bytes:
    """Write a list: {} for nothing found; a page past the end has the count alone."""
    if page.rows:
        rows = b",".join(page.rows)
        return b'{"%b":{"count":%d,"%b":[%b]}}' % (wrapper.encode(), page.count, key.encode(), rows)
    if page.count:
        return b'{"%b":{"count":%d}}' % (wrapper.encode(), page.count)
    return b'{"%b":{}}' % wrapper.encode()


def entity(wrapper: str, key: str, body: bytes) -> bytes:
    """Put one object under its key."""
    return b'{"%b":{"%b":%b}}' % (wrapper.encode(), key.encode(), body)


def bare(wrapper: str, body: bytes) -> bytes:
    """Put the fields directly in the wrapper."""
    return b'{"%b":%b}' % (wrapper.encode(), body)


def success(wrapper: str) -> bytes:
    """Answer a synchronous command that shows nothing."""
    return b'{"%b":{"success":true}}' % wrapper.encode()


def error(wrapper: str, fault: Fault) -> bytes:
    """Say what went wrong. Answers with 401, and those to a failed login, have no cserrorcode."""
    body: dict[str, Any] = {"uuidList": [], "errorcode": fault.code}
    if fault.code != 401 and fault.cs:
        body["cserrorcode"] = fault.cs
    return msgspec.json.encode({wrapper: body | {"errortext": fault.message}})


def told(fault: Fault, rank: Rank | None) -> Fault:
    """Return the fault as that caller is told it: others than root admins hear no inner causes."""
    plain = fault.code not in (530, 533, 534) or isinstance(fault, Away)
    if plain or (rank is Rank.ROOT_ADMIN and not isinstance(fault, Broken)):
        return fault
    return Fault(HIDDEN, code=fault.code, cs=fault.cs)


def reply(params: Mapping[str, str], declared: Declaration | None, body: bytes) -> Reply:
    """Make a good answer in the form asked for; XML unless it says response=json."""
    if params.get("response", "").lower() == "json":
        return Reply(200, [("Content-Type", JSON)], body)
    return Reply(200, [("Content-Type", XML)], document(body, declared and declared.shows))


def refusal(params: Mapping[str, str], wrapper: str, fault: Fault) -> Reply:
    """Make an error answer; the status line and X-Description carry the text too."""
    body = error(wrapper, fault)
    line = one_line(fault.message)
    as_json = params.get("response", "").lower() == "json"
    headers = [("Content-Type", JSON if as_json else XML), ("X-Description", line)]
    return Reply(fault.code, headers, body if as_json else document(body, None), line)


def one_line(text: str) -> str:
    """Return text that may stand in a header: printable ASCII, and not too long."""
    plain = text.encode("ascii", "replace").decode()
    return "".join(c if c.isprintable() else " " for c in plain)[:512]
