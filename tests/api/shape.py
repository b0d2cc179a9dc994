"""Whether an answer has the types that listApis promises: Go clients refuse a whole answer else."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, cast

from csnode.api.about import fields_of, shaped
from csnode.api.command import Answers, Declaration

PYTHONS: dict[str, tuple[type, ...]] = {
    "boolean": (bool,),
    "short": (int,),
    "integer": (int,),
    "long": (int,),
    "float": (int, float),
    "double": (int, float),
    "list": (list,),
    "set": (list,),
    "map": (dict,),
    "int": (int,),
    "responseobject": (dict,),
    "object": (dict,),
}
ORDERED = {"id": str, "jobid": str}


def wrong(declared: Declaration, body: dict[str, Any]) -> list[str]:
    """What of the content of a good answer is not as declared."""
    match declared.answers:
        case Answers.JOB | Answers.CREATED:
            lacking = [] if "jobid" in body else ["jobid"]
            return lacking + [name for name, value in body.items()
                              if type(value) is not ORDERED.get(name)]  # fmt: skip
        case Answers.SUCCESS:
            return [] if body == {"success": True} else [str(body)]
        case Answers.BARE:
            return list(_unlike(declared.shows, body))
        case Answers.ENTITY:
            return list(_under(declared, {declared.key: [body.get(declared.key)]}))
        case Answers.LIST:
            rows = {name: value for name, value in body.items() if name != "count"}
            counted = bool(rows) <= (type(body.get("count")) is int)
            return ["count"] * (not counted) + list(_under(declared, rows))


def wrong_result(declared: Declaration, result: dict[str, Any]) -> list[str]:
    """What of a finished job's result is not as its command declares."""
    if declared.shows is None:
        return [] if result == {"success": True} else [str(result)]
    return list(_under(declared, {name: [value] for name, value in result.items()}))


def _under(declared: Declaration, rows: dict[str, Any]) -> Iterator[str]:
    for name, entries in rows.items():
        if name != declared.key:
            yield f"{name} instead of {declared.key}"
        for entry in entries:
            yield from _unlike(declared.shows, entry)


def _unlike(kind: Any, entry: Any) -> Iterator[str]:
    if not isinstance(entry, dict):
        yield f"{kind.__name__}: {entry!r}"
        return
    values = cast("dict[str, Any]", entry)
    fields = {field.name: field for field in fields_of(kind)}
    for name, value in values.items():
        field = fields.get(name)
        if field is None:
            if name not in ("jobid", "jobstatus"):
                yield f"{kind.__name__}.{name} is not declared"
            continue
        inner = shaped(field.item or field.kind)
        expected = PYTHONS.get(field.word, (dict,) if inner and field.item is None else (str,))
        if type(value) not in expected:
            yield f"{kind.__name__}.{name}: {value!r} is no {field.word}"
        elif inner is not None:
            parts: list[Any] = value if field.item is not None else [value]
            for part in parts:
                yield from _unlike(inner, part)
