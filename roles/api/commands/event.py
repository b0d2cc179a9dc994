"""listEvents."""

from __future__ import annotations

from typing import Annotated, ClassVar, NewType

from csnode.api.about import About, By, Free, Moment
from csnode.api.call import Call
from csnode.api.command import Answers, command
from csnode.api.lists import ProjectList, Test
from csnode.api.refers import REFERS
from csnode.api.view import Shown
from csnode.clock import wall
from csnode.faults import Invalid
from csnode.model.event import UserEvent
from roles.api.views.job import INSTANCE_TYPES, EventView

EventId = NewType("EventId", str)
REFERS[EventId] = UserEvent


@command(
    "listEvents",
    answers=Answers.LIST,
    shows=EventView,
    java="org.apache.cloudstack.api.command.user.event.ListEventsCmd",
)
class ListEvents(ProjectList):
    """Lists events, the newest first."""

    shown: ClassVar[type[Shown]] = EventView

    id: Annotated[EventId | None, About("the id of the event")] = None
    type: Annotated[str | None, About("for example VM.CREATE"), By("type")] = None
    level: Annotated[str | None, About("INFO, WARN or ERROR")] = None
    state: Annotated[str | None, About("Scheduled, Started or Completed")] = None
    start_date: Annotated[Moment | None, About("on that day or later")] = None
    end_date: Annotated[Moment | None, About("on that day or before")] = None
    duration: Annotated[int | None, About("with entrytime: not older than so many seconds")] = None
    entry_time: Annotated[int | None, About("with duration: at least so many seconds old")] = None
    resource_id: Annotated[
        str | None, About("about this object"), Free("of any kind: it narrows what is shown")
    ] = None
    resource_type: Annotated[str | None, About("about objects of this type")] = None
    archived: Annotated[bool, About("those put away: none")] = False

    def tests(self, call: Call) -> list[Test]:
        del call
        if (self.resource_id is None) != (self.resource_type is None):
            raise Invalid("resourceid and resourcetype must be given together")
        tests: list[Test] = []
        if self.start_date is not None:
            start = self.start_date
            tests.append(lambda row: row.created >= start)
        if self.end_date is not None:
            end = self.end_date + 1
            tests.append(lambda row: row.created < end)
        if self.entry_time is not None and self.duration is not None:
            until, since = wall() - self.entry_time, wall() - self.duration
            tests.append(lambda row: since <= row.created <= until)
        if self.level:
            level = self.level.upper()
            tests.append(lambda row: row.level == level)
        if self.state:
            state = self.state.capitalize()
            tests.append(lambda row: row.state == state)
        if self.resource_id and self.resource_type:
            wanted, object_id = self.resource_type.lower(), self.resource_id
            tests.append(
                lambda row: (
                    row.object_id == object_id
                    and INSTANCE_TYPES.get(row.object_kind, "").lower() == wanted
                )
            )
        return [*tests, lambda _: False] if self.archived else tests

    def matches(self, row: UserEvent, keyword: str) -> bool:
        return any(keyword in text.lower() for text in (row.type, row.description, row.level))
