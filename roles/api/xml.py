"""The same answers as XML: CloudStack's default when a request does not say response=json."""

from __future__ import annotations

from collections.abc import Iterator
from functools import cache
from typing import Any, cast
from xml.sax.saxutils import escape

import msgspec

from csnode.api.about import fields_of, shaped
from csnode.api.command import COMMANDS, SPEAKS
from csnode.api.view import Shown

_QUOTES = {'"': "&quot;", "'": "&apos;"}
_NOT_XML = {code: " " for code in [*range(0x20), 0xFFFE, 0xFFFF] if code not in (9, 10, 13)}


def document(body: bytes, shown: type[Shown] | None) -> bytes:
    """Write a whole answer, from its JSON. What is shown says which objects are maps."""
    ((wrapper, content),) = msgspec.json.decode(body).items()
    maps = map_fields(shown) if shown else frozenset[str]()
    inner = "".join(_fields(content, maps))
    head = '<?xml version="1.0" encoding="UTF-8"?>'
    opening = f'<{wrapper} cloud-stack-version="{SPEAKS}">'
    return f"{head}{opening}{inner}</{wrapper}>".encode()


@cache
def map_fields(kind: Any) -> frozenset[str]:
    """Return the names of fields, nested ones included, whose value is a map and not an object.

    A job's result may be the answer of any command.
    """
    found: set[str] = set()
    for field in fields_of(kind):
        if field.word == "map":
            found.add(field.name)
        if field.word == "responseobject":
            shown = {d.shows for d in COMMANDS.values() if d.shows and d.shows is not kind}
            found |= {name for other in shown for name in map_fields(other)}
        if (inner := shaped(field.item or field.kind)) is not None:
            found |= map_fields(inner)
    return frozenset(found)


def _fields(content: Any, maps: frozenset[str]) -> Iterator[str]:
    """Yield an object's fields; a success that is no object is its text alone."""
    if not isinstance(content, dict):
        yield _text(content)
        return
    for name, value in cast("dict[str, Any]", content).items():
        if isinstance(value, list):
            for member in cast("list[Any]", value):
                yield from _element(name, member, maps)
        else:
            yield from _element(name, value, maps)


def _element(name: str, value: Any, maps: frozenset[str]) -> Iterator[str]:
    if isinstance(value, dict):
        inner = _java(cast("dict[str, Any]", value)) if name in maps else "".join(
            _fields(value, maps)
        )  # fmt: skip
        yield f"<{name}>{inner}</{name}>"
    else:
        yield f"<{name}>{_text(value)}</{name}>"


def _java(map: dict[str, Any]) -> str:
    """Write a map as Java prints it: {a=1, b=2}."""
    return _text("{" + ", ".join(f"{k}={_plain(v)}" for k, v in map.items()) + "}")


def _text(value: Any) -> str:
    return escape(_plain(value).translate(_NOT_XML), _QUOTES)


def _plain(value: Any) -> str:
    if isinstance(value, bool):
        return "true" if value else "false"
    return str(value)
