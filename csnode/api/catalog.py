"""The catalogue of commands, read off their declarations: listApis and the docs page."""

from __future__ import annotations

import inspect
from collections.abc import Iterable
from typing import Any

from csnode.api.about import Field, Rank, fields_of, shaped
from csnode.api.command import COMMANDS, Answers, Declaration
from csnode.api.refers import named_kind

_JOB_FIELDS = (
    {"name": "jobid", "description": "the job that is under way on it", "type": "string"},
    {"name": "jobstatus", "description": "the state of that job", "type": "integer"},
)


def entries(rank: Rank) -> list[dict[str, Any]]:
    """Return what listApis tells a caller of that rank, by name."""
    declared = [d for d in COMMANDS.values() if d.allows <= rank and not d.open]
    return [describe(d) for d in sorted(declared, key=lambda d: d.name)]


def describe(declared: Declaration) -> dict[str, Any]:
    """Describe a command, as one entry of listApis."""
    entry: dict[str, Any] = {
        "name": declared.name,
        "description": inspect.cleandoc(declared.request.__doc__ or ""),
        "isasync": declared.is_async,
        "related": ",".join(sorted(_related(declared))),
        "params": [_param(f) for f in fields_of(declared.request)],
        "response": _response(declared),
    }
    if declared.since:
        entry["since"] = declared.since
    return entry


def markdown() -> str:
    """Return the docs page: a section for each command."""
    lines = ["# API commands", ""]
    for declared in sorted(COMMANDS.values(), key=lambda d: d.name):
        lines += [f"## {declared.name}", "", inspect.cleandoc(declared.request.__doc__ or ""), ""]
        rank = declared.allows.name.lower().replace("_", " ")
        lines += [
            f"For: {'anybody' if declared.open else rank}. Wrapper: `{declared.wrapper}`.",
            "",
        ]
        if fields := fields_of(declared.request):
            lines += ["| parameter | type | required | |", "|---|---|---|---|"]
            lines += [
                f"| {f.name} | {f.word} | {'yes' if f.required else ''} | {f.about.text} |"
                for f in fields
            ]
            lines.append("")
        if declared.shows:
            lines += ["| response field | type | |", "|---|---|---|"]
            lines += [f"| {f['name']} | {f['type']} | {f['description']} |"
                      for f in _fields(declared.shows)]  # fmt: skip
            lines.append("")
    return "\n".join(lines)


def _param(field: Field) -> dict[str, Any]:
    param: dict[str, Any] = {
        "name": field.name,
        "description": field.about.text,
        "type": field.word,
        "length": field.about.length,
        "required": field.required,
    }
    if field.about.since:
        param["since"] = field.about.since
    kind = named_kind(field)
    showing = [d.name for d in COMMANDS.values() if d.shows and kind and d.shows.of is kind]
    if showing:
        param["related"] = ",".join(sorted(showing))
    return param


def _related(declared: Declaration) -> Iterable[str]:
    return (
        other.name
        for other in COMMANDS.values()
        if declared.shows and other.shows is declared.shows and other is not declared
    )


def _response(declared: Declaration) -> list[dict[str, Any]]:
    if declared.shows is None:
        return [
            {"name": "displaytext", "description": "what happened", "type": "string"},
            {"name": "success", "description": "whether it worked", "type": "boolean"},
            *(_JOB_FIELDS if declared.is_async else ()),
        ]
    shown = _fields(declared.shows)
    if declared.answers is not Answers.BARE and not any(f["name"] == "jobid" for f in shown):
        shown += _JOB_FIELDS
    return shown


def _fields(kind: Any, nested: bool = True) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = []
    for field in fields_of(kind):
        entry: dict[str, Any] = {
            "name": field.name,
            "description": field.about.text,
            "type": field.word,
        }
        if nested and (inner := shaped(field.item or field.kind)) is not None:
            entry["response"] = _fields(inner, nested=False)
        found.append(entry)
    return found
