"""API commands: declared once; routing, parsing, listApis, docs and rank checks follow from it."""

from __future__ import annotations

from collections.abc import Callable
from enum import Enum, auto
from typing import Any, TypeVar

from csnode import plugins
from csnode.api.about import Rank, wire_name
from csnode.api.call import Call
from csnode.api.parse import Table, table
from csnode.api.refers import check_declared, references
from csnode.api.view import Shown
from csnode.faults import Broken
from csnode.model.entity import Entity, declared_kind
from csnode.model.owner import Through
from csnode.types import Struct

SPEAKS = "4.22.1.0"  # the CloudStack version whose API this is


class Answers(Enum):
    """What a command answers, and so what its `run` returns."""

    LIST = auto()  # {"count": n, key: [...]}; run returns a Listing
    ENTITY = auto()  # {key: {...}}; run returns the row (or its id), or a Shown made by itself
    SUCCESS = auto()  # {"success": true}; run returns None
    JOB = auto()  # {"jobid": ...}; run returns the Job
    CREATED = auto()  # {"id": ..., "jobid": ...}; run returns the Job
    BARE = auto()  # the fields directly; run returns a Shown


class ApiCommand(Struct, rename=wire_name):
    """A request, checked by its types, that knows how to become a change."""

    async def run(self, call: Call) -> Any:
        """Check against rows the caller may see, and add to call.change; touch nothing else.

        The framework commits the change and answers. If a row moved on meanwhile, it runs the
        command again with a new, empty change.
        """
        raise NotImplementedError

    def again(self, call: Call) -> Shown | None:
        """Return what a repetition under the same name shows, where `run` shows what is no row.

        The repetition is not run: it is answered with the row as it is now, or its job.
        """
        del call
        return None


class Declaration(Struct):
    """All there is to know of a command."""

    name: str
    request: type[ApiCommand]
    answers: Answers
    shows: type[Shown] | None
    allows: Rank
    since: str
    event: str  # what listEvents calls it; "": it is not worth a line
    java: str  # the `cmd` of its jobs, as CloudStack's class names have it
    open: bool  # needs no login
    table: Table

    @property
    def wrapper(self) -> str:
        """The one top-level key of its answers."""
        return f"{self.name.lower()}response"

    @property
    def key(self) -> str:
        """The key of what it shows, inside the wrapper."""
        return self.shows.key if self.shows else ""

    @property
    def shown(self) -> type[Shown]:
        """What it shows. Raises Broken if it shows nothing."""
        if self.shows is None:
            raise Broken(f"{self.name} declares nothing that it shows")
        return self.shows

    @property
    def is_async(self) -> bool:
        return self.answers in (Answers.JOB, Answers.CREATED)

    @property
    def changes(self) -> bool:
        """Whether it may change anything; login does too, but for nobody who is known yet."""
        return not self.open and (self.is_async or bool(self.event))


COMMANDS: dict[str, Declaration] = {}  # by lower-case name
C = TypeVar("C", bound=type[ApiCommand])


def command(
    name: str,
    *,
    answers: Answers,
    shows: type[Shown] | None = None,
    allows: Rank = Rank.USER,
    since: str = "",
    event: str = "",
    java: str = "",
    open: bool = False,
) -> Callable[[C], C]:
    """Make a request known by its CloudStack name.

    Raises Broken for a name that another module has declared, and for ids of unknown kinds.
    """

    def declare(request: C) -> C:
        held = COMMANDS.get(name.lower())
        if held is not None and held.request.__module__ != request.__module__:
            raise Broken(f"{name} is declared by {held.request.__module__} already")
        check_declared(name, request)
        COMMANDS[name.lower()] = Declaration(
            name=name,
            request=request,
            answers=answers,
            shows=shows,
            allows=allows,
            since=since,
            event=event,
            java=java,
            open=open,
            table=table(name, request),
        )
        return request

    return declare


def load_commands() -> dict[str, Declaration]:
    """Load every command that some installed package offers (entry points csnode.commands)."""
    plugins.load_all("commands")
    return dict(sorted(COMMANDS.items()))


def kinds_needed() -> set[type[Entity]]:
    """Return the kinds of row that any command names, or that its answer shows or it says it reads.

    The kinds that tell whose these are come with them.
    """
    shown = {d.shows for d in COMMANDS.values() if d.shows and d.shows.of.kind}
    kinds = {s.of for s in shown} | {kind for s in shown for kind in s.reads}
    kinds |= {r.kind for d in COMMANDS.values() for r in references(d.request)}
    return kinds.union(*map(_owning, kinds))


def _owning(kind: type[Entity]) -> set[type[Entity]]:
    """Return the kinds through which rows of the kind have an owner."""
    owner = kind.owned_by
    if not isinstance(owner, Through):
        return set()
    other = declared_kind(owner.to)
    return {other} | _owning(other)
