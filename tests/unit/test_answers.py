"""What a shelf keeps follows from rows alone: nothing that makes it can read anything else.

A recorder sees what is read of the view it hands out. These tests walk the code that `made`,
`hidden` and `owner` of each answer can reach, and find what they could read besides.
"""

from __future__ import annotations

import types
from collections.abc import Iterator
from datetime import timezone
from enum import Enum
from typing import Any, ClassVar
from uuid import UUID

import pytest

from csnode.api.command import load_commands
from csnode.api.view import Shown
from csnode.clock import wall
from csnode.context import current
from csnode.data.view import View
from csnode.log import logger
from csnode.model.entity import Entity
from csnode.model.host import Host

OURS = ("csnode.", "roles.", "tests.")
READERS = ("made", "hidden", "owner")
OUTSIDE = {"time", "random", "os", "secrets", "socket", "asyncio", "threading"}
CHANCE_OR_TIME = {"now", "utcnow", "today", "uuid1", "uuid4"}  # of datetime and uuid
CONSTANT = (
    str, int, float, bytes, bool, tuple, frozenset, type(None), Enum, type, timezone, UUID,
    types.GenericAlias, types.UnionType, types.BuiltinFunctionType,
)  # fmt: skip


def names_in(code: types.CodeType) -> Iterator[str]:
    """Every global and attribute that the code names, inner functions included."""
    yield from code.co_names
    for const in code.co_consts:
        if isinstance(const, types.CodeType):
            yield from names_in(const)


def within(thing: Any, names: set[str]) -> Iterator[types.FunctionType]:
    """Our functions that code with these names may call: a function itself, or a class's."""
    plain: Any = getattr(thing, "__wrapped__", thing)
    if isinstance(plain, type) and plain is not View:
        held = [getattr(plain, name, None) for name in dir(plain) if name in names]
        if issubclass(plain, Entity):  # rows are read as attributes, whatever these are called
            held += [each.fget for each in vars(plain).values() if isinstance(each, property)]
    else:
        held = [plain]
    for each in held:
        function: Any = getattr(each, "__func__", each)
        if isinstance(function, types.FunctionType) and function.__module__.startswith(OURS):
            yield function


def outside(start: types.FunctionType) -> set[str]:
    """Name what the function can read that is neither its arguments nor a constant."""
    found: set[str] = set()
    seen: set[Any] = set()
    todo = [start]
    while todo:
        function = todo.pop()
        if function in seen:
            continue
        seen.add(function)
        names = set(names_in(function.__code__))
        cells = [cell.cell_contents for cell in function.__closure__ or ()]
        held = [(name, function.__globals__[name]) for name in names & function.__globals__.keys()]
        for name, each in [*held, *((function.__qualname__, cell) for cell in cells)]:
            if isinstance(each, types.ModuleType):
                inner = {n: getattr(each, n) for n in names if hasattr(each, n)}
            else:
                inner = {name: each}
            for label, thing in inner.items():
                if said := wrong_with(label, thing, names):
                    found.add(f"{function.__qualname__}: {said}")
                else:
                    todo += within(thing, names)
    return found


def wrong_with(name: str, thing: Any, names: set[str]) -> str:
    """Say why a global may not be read while an answer is made; "" if it may."""
    module = str(getattr(thing, "__module__", ""))
    if thing is wall or thing is current or module.partition(".")[0] in OUTSIDE:
        return f"{name} says another thing each time"
    if module in ("datetime", "uuid") and names & CHANCE_OR_TIME:
        return f"{name} tells the time, or is left to chance"
    plain: Any = getattr(thing, "__wrapped__", thing)
    if isinstance(plain, (*CONSTANT, types.FunctionType)) or module == "typing":
        return ""
    sort: type[Any] = plain.__class__
    if sort is dict and name.lstrip("_").isupper():
        return ""  # a table, filled at import
    return f"{name} is a {sort.__name__}, which may change"


def shown() -> list[type[Shown]]:
    found = {d.shows for d in load_commands().values() if d.shows and d.shows.of.kind}
    return sorted(found, key=lambda each: each.__name__)


@pytest.mark.parametrize("reader", READERS)
def test_what_is_kept_is_made_of_rows_and_constants_only(reader: str) -> None:
    found = {each.__name__: outside(getattr(each, reader).__func__) for each in shown()}
    assert {name: what for name, what in found.items() if what} == {}
    assert len(found) > 20


SEEN: list[str] = []
MANY = {"a": "b"}
log = logger("test")


def _late(row: Host) -> bool:
    return wall() > row.created


class Timed(Shown):
    of: ClassVar[type[Entity]] = Host

    @classmethod
    def made(cls, row: Host, view: View) -> Timed:
        assert _late(row)
        return cls()


class Stateful(Shown):
    @classmethod
    def made(cls, row: Host, view: View) -> Stateful:
        SEEN.append(MANY[row.id])
        return cls()


class Named(Shown):
    @classmethod
    def made(cls, row: Host, view: View) -> Named:
        current()
        log.info("made")
        return cls()


class Closed(Shown):
    @classmethod
    def made(cls, row: Host, view: View) -> Timed:
        return Timed.made(row, view)


@pytest.mark.parametrize(
    ("kind", "names"),
    [
        (Timed, {"wall"}),
        (Stateful, {"SEEN"}),
        (Named, {"current", "log"}),
        (Closed, {"wall"}),
    ],
)
def test_an_answer_that_reads_something_else_is_found(kind: Any, names: set[str]) -> None:
    found = outside(kind.made.__func__)
    assert {said.partition(": ")[2].split()[0] for said in found} == names
