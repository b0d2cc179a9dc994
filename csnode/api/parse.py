"""Parameters as text become a checked request.

The texts of refusals are CloudStack's (ParamProcessWorker); clients read some of them.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from datetime import UTC, datetime
from typing import Any

import msgspec

from csnode.api.about import Field, fields_of
from csnode.faults import Invalid

BY_SERVER = 9999  # the cserrorcode of what the framework itself refuses
BLANK = object()  # a blank value that counts as none

NO_ID = "-1"  # of no object: CloudStack's word for "all" or "none" where an id is asked for
UUID = re.compile(r"[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}")
_ILLEGAL = re.compile(r"[\x00-\x09\x0b\x0c\x0e-\x1f\x7f]")
_MAP_KEY = re.compile(r"([^\[\]]+)\[(\d{1,4})\]\.([^\[\]]+)")
_DATE = re.compile(
    r"(\d{4}-\d\d-\d\d)(?:([ T]\d\d:\d\d:\d\d)(?:\.(\d{1,9}))?(Z[+ ]00:?00|Z|[+ -]\d\d:?\d\d)?)?",
    re.ASCII,
)
_MOST = {"short": 2**15 - 1, "integer": 2**31 - 1, "long": 2**63 - 1}
Reader = Callable[[str], Any]


class Table(msgspec.Struct):
    """How to read each parameter of one command; made once."""

    command: str
    request: type[msgspec.Struct]
    readers: dict[str, tuple[str, Reader]]  # by lower-case name: the attribute and its reader
    maps: dict[str, str]  # by lower-case name: the attribute
    required: tuple[tuple[str, str], ...]  # attribute and wire name

    def read(self, params: Mapping[str, str]) -> Any:
        """Read a request. Raises Invalid, in CloudStack's words. Unknown parameters are ignored."""
        values: dict[str, Any] = {}
        maps: dict[str, dict[int, dict[str, str]]] = {}
        for name, text in params.items():
            if not text.isprintable() and _ILLEGAL.search(text):
                raise _refusal(
                    "Received value containing illegal ASCII non-printable characters for "
                    f"parameter {name}"
                )
            if (known := self.readers.get(name)) is not None:
                attribute, reader = known
                if (value := reader(text)) is not BLANK:
                    values[attribute] = value
            elif "[" in name:
                base, index, key = _map_key(name)
                if base in self.maps:
                    maps.setdefault(self.maps[base], {}).setdefault(index, {})[key] = text
        for attribute, entries in maps.items():
            values[attribute] = tuple(entries[index] for index in sorted(entries))
        for attribute, wire in self.required:
            if attribute not in values:
                raise _refusal(
                    f"Unable to execute API command {self.command} due to missing parameter {wire}"
                )
        return self.request(**values)


def table(command: str, request: type[msgspec.Struct]) -> Table:
    """Return the table of a command."""
    fields = fields_of(request)
    lower = command.lower()
    return Table(
        command=lower,
        request=request,
        readers={
            f.name.lower(): (f.attribute, _reader(lower, f)) for f in fields if f.word != "map"
        },
        maps={f.name.lower(): f.attribute for f in fields if f.word == "map"},
        required=tuple((f.attribute, f.name) for f in fields if f.required),
    )


def lowered(name: str) -> str:
    """Lower names, which come in any case; of a map's, only the part before the bracket is ours."""
    if "[" not in name:
        return name.lower()
    base, bracket, rest = name.partition("[")
    return base.lower() + bracket + rest


def merged(map: tuple[dict[str, str], ...]) -> dict[str, str]:
    """Merge free fields: details[0].a=1&details[1].b=2 as one dict."""
    return {key: value for entry in map for key, value in entry.items()}


def no_such(command: str, name: str, value: str) -> Invalid:
    """Return the Invalid for nothing by that id, or nothing that this caller may see.

    Go clients look for this text.
    """
    return _refusal(
        f"Unable to execute API command {command.lower()} due to invalid value. "
        f"Invalid parameter {name} value={value} due to incorrect long value format, or entity "
        "does not exist or due to incorrect parameter annotation for the field in api cmd class."
    )


def bad_value(command: str, name: str, value: str) -> Invalid:
    """Return the Invalid for a value that is none that the parameter can have."""
    return _refusal(
        f"Unable to execute API command {command.lower()} due to invalid value {value} "
        f"for parameter {name}"
    )


def moment(text: str) -> float | None:
    """Return seconds since 1970 for a date as clients write it (UTC unless it says); None if bad.

    2026-01-01, 2026-01-01 00:00:00, and RFC 3339 as Java, Python (microseconds), Go (nanoseconds)
    and JavaScript (.000Z) have it, with Z+0000 for Z, and a space where a + was not escaped.
    """
    found = _DATE.fullmatch(text)
    if found is None:
        return None
    day, time, fraction, offset = found.groups(default="")
    if time.startswith("T") != bool(offset) or (fraction and not offset):
        return None  # a T without an offset may be anybody's own time
    offset = "+00:00" if offset.startswith("Z") else offset.replace(" ", "+")
    micros = f".{fraction:0<6.6}" if fraction else ""
    try:
        date = datetime.fromisoformat(f"{day}{time}{micros}{offset}")
        return (date if date.tzinfo else date.replace(tzinfo=UTC)).timestamp()
    except (ValueError, OverflowError):  # the 30th of February
        return None


def _refusal(text: str) -> Invalid:
    return Invalid(text, cs=BY_SERVER)


def _map_key(name: str) -> tuple[str, int, str]:
    found = _MAP_KEY.fullmatch(name)
    if found is None:
        raise Invalid(
            f"Unable to decode parameter {name}; if specifying an object array, please use "
            "parameter[index].field=XXX, e.g. userGroupList[0].group=httpGroup",
            code=430,
            cs=BY_SERVER,
        )
    return found[1], int(found[2]), found[3]


def _reader(command: str, field: Field) -> Reader:
    """Return the reader of one parameter, by its type word."""
    match field.word:
        case "boolean":
            return lambda text: text.lower() == "true"
        case "short" | "integer" | "long":
            return _number(command, field)
        case "float" | "double":
            return _decimal(command, field)
        case "date" | "tzdate":
            return _date(command, field)
        case "uuid":
            return _uuid(command, field)
        case "list":
            item = _uuid(command, field) if hasattr(field.item, "__supertype__") else _as_it_is
            return lambda text: tuple(item(part) for part in text.split(",") if part)
        case _:
            return _string(field)


def _as_it_is(text: str) -> str:
    return text


def _string(field: Field) -> Reader:
    name, most = field.name, field.about.length

    def read(text: str) -> Any:
        if len(text) > most:
            raise _refusal(f"Value greater than max allowed length {most} for param: {name}")
        return BLANK if not text and field.required else text

    return read


def _number(command: str, field: Field) -> Reader:
    most = _MOST[field.word]

    def read(text: str) -> Any:
        if not text.strip() and field.word == "integer":
            return BLANK
        if not re.fullmatch(r"[+-]?[0-9]{1,19}", text) or not -most - 1 <= int(text) <= most:
            raise bad_value(command, field.name, text)
        return int(text)

    return read


def _decimal(command: str, field: Field) -> Reader:
    def read(text: str) -> Any:
        if not text.strip():
            return BLANK
        if not re.fullmatch(r"[+-]?[0-9]{1,18}(\.[0-9]{1,18})?", text):
            raise bad_value(command, field.name, text)
        return float(text)

    return read


def _date(command: str, field: Field) -> Reader:
    def read(text: str) -> Any:
        seconds = moment(text)
        if seconds is None:
            raise _refusal(
                f"Unable to parse date {text} for command {command}, please pass dates in the "
                "format mentioned in the api documentation"
            )
        whole_day = field.name == "enddate" and len(text) == len("2026-01-01")
        return seconds + 86399 if whole_day else seconds

    return read


def _uuid(command: str, field: Field) -> Reader:
    def read(text: str) -> Any:
        if not text:
            return BLANK
        if not UUID.fullmatch(text) and text != NO_ID:
            raise no_such(command, field.name, text)
        return text

    return read
