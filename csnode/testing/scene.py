"""What a caller sees, from which a request is drawn."""

from __future__ import annotations

import random
from collections.abc import Mapping

from csnode.api.about import Rank
from csnode.api.call import Caller
from csnode.api.reach import may_see
from csnode.data.view import View
from csnode.model.entity import Entity


class Scene:
    """What one caller sees of the world at one moment, and what was drawn from it so far."""

    def __init__(
        self, chance: random.Random, view: View, caller: Caller, hosts: Mapping[str, str]
    ) -> None:
        """Make a scene.

        `hosts` are the world's machines that run guests: id of the host to machine.
        """
        self.chance, self.view, self.caller, self.hosts = chance, view, caller, hosts
        self.chosen: dict[type[Entity], Entity] = {}
        self.command = ""

    @property
    def root(self) -> bool:
        """Whether the caller may say where things run."""
        return self.caller.rank is Rank.ROOT_ADMIN

    def all(self, kind: type[Entity]) -> list[Entity]:
        """Return rows of that kind that the caller sees, in an order that does not change."""
        if kind.kind not in set(self.view):
            return []
        rows = [row for row in self.view.all(kind) if may_see(self.caller, row, self.view)]
        return sorted(rows, key=lambda row: row.id)
