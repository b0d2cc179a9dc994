"""A kind of row that csnode does not know."""

from __future__ import annotations

from typing import Annotated, ClassVar

from csnode.model.entity import Entity, Fact, Key
from csnode.model.owner import Operators, Ownership


class Greeting(Entity):
    """Who was greeted; the role says how often."""

    kind: ClassVar[str] = "acme_greeting"
    owned_by: ClassVar[Ownership] = Operators()

    whom: Annotated[str, Key(unique=True)]
    times: Annotated[int, Fact(by="greeter")] = 0
