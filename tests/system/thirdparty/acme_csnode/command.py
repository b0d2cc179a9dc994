"""Two commands that CloudStack does not have."""

from __future__ import annotations

from typing import Annotated, ClassVar

from acme_csnode.greeting import Greeting
from csnode.api.about import About, Rank
from csnode.api.call import Call
from csnode.api.command import Answers, ApiCommand, command
from csnode.api.lists import ListCommand
from csnode.api.view import Shown
from csnode.data.view import View
from csnode.model.entity import Entity


class GreetingView(Shown):
    """Somebody who is greeted."""

    key: ClassVar[str] = "greeting"
    of: ClassVar[type[Entity]] = Greeting

    id: Annotated[str, About("the id of the greeting")]
    whom: Annotated[str, About("who is greeted")]
    times: Annotated[int, About("how often so far")]

    @classmethod
    def made(cls, row: Greeting, view: View) -> GreetingView:
        return cls(id=row.id, whom=row.whom, times=row.times)


@command("greetSomebody", answers=Answers.ENTITY, shows=GreetingView, allows=Rank.ROOT_ADMIN)
class GreetSomebody(ApiCommand):
    """Begins to greet somebody."""

    whom: Annotated[str, About("who is to be greeted")]

    async def run(self, call: Call) -> Greeting:
        return call.change.create(Greeting(id=call.new_id(), whom=self.whom))


@command("listGreetings", answers=Answers.LIST, shows=GreetingView, allows=Rank.ROOT_ADMIN)
class ListGreetings(ListCommand):
    """Lists who is greeted."""

    shown: ClassVar[type[Shown]] = GreetingView
