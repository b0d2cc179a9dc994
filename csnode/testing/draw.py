"""A request at random: any command that acts, with arguments made from what the world has.

What a parameter may be follows from its declaration: an id is that of a row of the kind which the
id's type names, a flag is true or false. What cannot be derived stands in `values.py`.
"""

from __future__ import annotations

from collections.abc import Mapping
from functools import cache

from csnode.api.about import Field, Rank, fields_of
from csnode.api.command import Declaration, load_commands
from csnode.api.refers import named_kind
from csnode.model.entity import Entity
from csnode.testing import values
from csnode.testing.scene import Scene
from csnode.types import Struct

FITTING = 0.92  # how often a row is one that the command makes sense for, if there is one
ASTRAY = 0.04  # how often a command is asked for although it makes sense for no row


class Draw(Struct):
    """A request that somebody may send."""

    command: str
    params: dict[str, str]
    rows: dict[str, str]  # by kind: the ids that it names
    target: tuple[str, str]  # kind and id of what it is about; ("", "") if it makes something


@cache
def acting() -> dict[str, Declaration]:
    """Return every command that changes something, by name."""
    return {d.name: d for d in load_commands().values() if d.changes}


def naming(kind: str, rank: Rank) -> list[Declaration]:
    """Return the commands of a caller of that rank that may name a row of that kind."""
    return [
        declared
        for declared in acting().values()
        if declared.allows <= rank
        and declared.name not in values.SCRIPTED
        and any(_names(field, kind, rank) for field in fields_of(declared.request))
    ]


def _names(field: Field, kind: str, rank: Rank) -> bool:
    named = named_kind(field)
    may = field.required or rank is Rank.ROOT_ADMIN or named not in values.PLACES
    return named is not None and named.kind == kind and may


def drawn(
    scene: Scene, declared: Declaration, about: Mapping[str, str] | None = None
) -> Draw | None:
    """Return a request for that command; None if the world has not what it needs.

    `about` names rows, by kind, that it must be about.
    """
    return _Drawing(scene, declared, about or {}).draw()


class _Drawing:
    """One request, parameter by parameter."""

    def __init__(self, scene: Scene, declared: Declaration, about: Mapping[str, str]) -> None:
        self.scene, self.declared, self.about = scene, declared, about
        self.scene.chosen, self.scene.command = {}, declared.name
        self.params: dict[str, str] = {}
        self.rows: dict[str, str] = {}
        self.target = ("", "")

    def draw(self) -> Draw | None:
        for field in fields_of(self.declared.request):
            kind = named_kind(field)
            asked = kind is not None and kind.kind in self.about and kind.kind not in self.rows
            must = field.required or asked or self._key(field) in values.ALWAYS
            if not must and self.scene.chance.random() >= self._often(field, kind):
                continue
            text = self._row(field, kind) if asked and kind else self._value(field, kind)
            if text:
                self.params[field.name.lower()] = text
            elif must and text is None:
                return None
        for names, make in values.TOGETHER.items():
            if set(names) <= self.declared.table.readers.keys():
                self.params |= make(self.scene)
        if self.about.items() - self.rows.items():
            return None
        chosen = {kind.kind: row.id for kind, row in self.scene.chosen.items()}
        self.rows = chosen | self.rows
        return Draw(command=self.declared.name, params=self.params, rows=self.rows,
                    target=self.target)  # fmt: skip

    def _key(self, field: Field) -> str:
        return f"{self.declared.name}.{field.name.lower()}"

    def _often(self, field: Field, kind: type[Entity] | None) -> float:
        """Return how often a parameter that may be left out is given."""
        key, name = self._key(field), field.name.lower()
        if name in values.NEVER or key in values.NEVER or field.about.allows > Rank.USER:
            return 0.0
        if key in values.OFTEN:
            return values.OFTEN[key]
        if key in values.MADE or name in values.MADE:
            return 0.3
        if kind is not None:
            return 0.12 if self.scene.root or kind not in values.PLACES else 0.0
        return 0.15 if field.word == "boolean" else 0.0

    def _value(self, field: Field, kind: type[Entity] | None) -> str | None:
        key = self._key(field)
        make = values.MADE.get(key) or (values.MADE.get(field.name.lower()) if not kind else None)
        if make is not None:
            return make(self.scene)
        if kind is not None:
            return self._row(field, kind)
        if field.word == "boolean":
            return self.scene.chance.choice(("true", "false"))
        return None

    def _row(self, field: Field, kind: type[Entity]) -> str | None:
        """Return the id of a row that goes with those chosen before."""
        scene, chance = self.scene, self.scene.chance
        rows = [row for row in scene.all(kind) if self._goes(row)]
        if kind.kind in self.about and kind.kind not in self.rows:
            rows = [row for row in rows if row.id == self.about[kind.kind]]
            fits = values.FITS.get(self._key(field))
            if fits and not any(fits(row, scene) for row in rows) and chance.random() < 0.5:
                return None
        elif (fits := values.FITS.get(self._key(field))) is not None:
            fitting = [row for row in rows if fits(row, scene)]
            if not fitting and chance.random() >= ASTRAY:
                return None
            rows = fitting if fitting and chance.random() < FITTING else rows
        elif (prefers := values.PREFERRED.get(kind)) is not None:
            fitting = [row for row in rows if prefers(row, scene)]
            rows = fitting if fitting and chance.random() < FITTING else rows
        if not rows:
            return None
        row = chance.choice(rows)
        scene.chosen.setdefault(kind, row)
        self.rows.setdefault(kind.kind, row.id)
        if field.required and not self.target[0]:
            self.target = (kind.kind, row.id)
        return row.id

    def _goes(self, row: Entity) -> bool:
        """Tell whether the row goes with those chosen before.

        A pod goes with its zone, a disk with its machine.
        """
        chosen = {kind.kind: other.id for kind, other in self.scene.chosen.items()}
        return all(
            chosen.get(ref.to, value) == value
            for column, ref in type(row).refs().items()
            if (value := getattr(row, column)) and isinstance(value, str)
        )
