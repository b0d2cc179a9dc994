"""Record what every command takes and answers, in golden/commands.txt: names, types, who may ask.

usage: python -m tests.api.golden_of     (then look at the diff: a reviewer will)
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

from csnode.api.about import Field, fields_of, shaped
from csnode.api.command import Declaration, load_commands

GOLDEN = Path(__file__).parent / "golden" / "commands.txt"


def recorded() -> str:
    """Every command that is installed, in the order of their names."""
    commands = sorted(load_commands().values(), key=lambda d: d.name)
    return "\n".join(line for declared in commands for line in _lines(declared))


def _lines(declared: Declaration) -> Iterator[str]:
    who = "anybody" if declared.open else declared.allows.name
    yield f"{declared.name}: {declared.answers.name} {declared.key or '-'} {who}"
    yield f"  event {declared.event or '-'}, job {declared.java or '-'}"
    for field in fields_of(declared.request):
        yield f"  > {_one(field)}{' required' if field.required else ''}"
    if declared.shows:
        yield from _shown(declared.shows, "  < ")
    yield ""


def _shown(kind: Any, indent: str) -> Iterator[str]:
    for field in fields_of(kind):
        yield f"{indent}{_one(field)}"
        if (inner := shaped(field.item or field.kind)) is not None:
            yield from _shown(inner, f"  {indent}")


def _one(field: Field) -> str:
    about = field.about
    said = [field.name, field.word]
    said += [f"of {_item(field.item)}"] if field.item is not None else []
    said += [f"since {about.since}"] if about.since else []
    said += [f"up to {about.length}"] if about.length != 255 else []
    said += [f"for {about.allows.name}"] if about.allows != 1 else []
    return " ".join(said)


def _item(kind: Any) -> str:
    if shaped(kind) is not None:
        return "objects"
    return "uuid" if hasattr(kind, "__supertype__") else kind.__name__


if __name__ == "__main__":
    GOLDEN.write_text(recorded())
