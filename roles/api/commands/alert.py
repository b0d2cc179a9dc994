"""listAlerts, archiveAlerts, deleteAlerts, generateAlert."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Annotated, ClassVar, NewType

from csnode.api.about import About, By, Moment, Rank, Short
from csnode.api.call import Call
from csnode.api.command import Answers, ApiCommand, command
from csnode.api.lists import ListCommand, Test
from csnode.api.refers import REFERS
from csnode.api.view import Shown
from csnode.clock import wall
from csnode.faults import Invalid
from csnode.model.alert import Alert
from csnode.model.job import Job
from csnode.types import PodId, ZoneId
from roles.api.views.alert import AlertView

AlertId = NewType("AlertId", str)
REFERS[AlertId] = Alert


@command(
    "listAlerts",
    answers=Answers.LIST,
    shows=AlertView,
    allows=Rank.ROOT_ADMIN,
    java="org.apache.cloudstack.api.command.admin.resource.ListAlertsCmd",
)
class ListAlerts(ListCommand):
    """Lists alerts that nobody has put away, the newest first."""

    shown: ClassVar[type[Shown]] = AlertView

    id: Annotated[AlertId | None, About("the id of the alert")] = None
    type: Annotated[str | None, About("of this type, CloudStack's number")] = None
    name: Annotated[str | None, About("of this type, its word"), By("name")] = None

    def tests(self, call: Call) -> list[Test]:
        del call
        type = _number_of(self.type)
        return [lambda alert: not alert.archived and type in (None, alert.type)]

    def matches(self, row: Alert, keyword: str) -> bool:
        return keyword in row.text.lower()


class SomeAlerts(ApiCommand):
    """Base of what is done to several alerts at once: by id, by type, by time."""

    ids: Annotated[tuple[AlertId, ...] | None, About("the ids of the alerts")] = None
    type: Annotated[str | None, About("those of this type, CloudStack's number")] = None
    start_date: Annotated[Moment | None, About("those sent since then")] = None
    end_date: Annotated[Moment | None, About("those sent until then")] = None

    def chosen(self, call: Call) -> Iterator[Alert]:
        """Find the alerts meant. Raises Invalid if nothing says which, or an id is nobody's."""
        type = _number_of(self.type)
        if not self.ids and type is None and not (self.start_date or self.end_date):
            raise Invalid("ids, type, startdate or enddate must say which alerts")
        rows = [call.seen(Alert, id, "ids") for id in self.ids or ()] or call.view.all(Alert)
        since, until = self.start_date or 0.0, self.end_date or wall() + 1
        for alert in rows:
            if since <= alert.sent <= until and type in (None, alert.type):
                yield alert


@command(
    "archiveAlerts",
    answers=Answers.SUCCESS,
    allows=Rank.ROOT_ADMIN,
    event="ALERT.ARCHIVE",
    java="org.apache.cloudstack.api.command.admin.resource.ArchiveAlertsCmd",
)
class ArchiveAlerts(SomeAlerts):
    """Puts alerts away. One that comes again is shown again."""

    async def run(self, call: Call) -> None:
        for alert in self.chosen(call):
            call.change.update(Alert, alert.id, revision=alert.revision, archived=True)


@command(
    "deleteAlerts",
    answers=Answers.SUCCESS,
    allows=Rank.ROOT_ADMIN,
    event="ALERT.DELETE",
    java="org.apache.cloudstack.api.command.admin.resource.DeleteAlertsCmd",
)
class DeleteAlerts(SomeAlerts):
    """Deletes alerts."""

    async def run(self, call: Call) -> None:
        for alert in self.chosen(call):
            call.change.delete(Alert, alert.id, revision=alert.revision)


@command(
    "generateAlert",
    answers=Answers.JOB,
    allows=Rank.ROOT_ADMIN,
    event="ALERT.GENERATE",
    java="org.apache.cloudstack.api.command.admin.alert.GenerateAlertCmd",
)
class GenerateAlert(ApiCommand):
    """Raises an alert, for whoever watches the cloud from outside."""

    type: Annotated[Short, About("CloudStack's number of its type")]
    name: Annotated[str, About("the word for its type")]
    description: Annotated[str, About("what went wrong", length=999)]
    zone_id: Annotated[ZoneId | None, About("in this zone")] = None
    pod_id: Annotated[PodId | None, About("in this pod")] = None

    async def run(self, call: Call) -> Job:
        alert = Alert(
            id=call.new_id(),
            type=self.type,
            name=self.name,
            text=self.description,
            zone=self.zone_id,
            pod=self.pod_id,
            sent=wall(),
        )
        return call.done(call.change.create(alert))


def _number_of(type: str | None) -> int | None:
    """Read a type. CloudStack's parameter is text; every type is a number. Raises Invalid."""
    if not type:
        return None
    if not type.isascii() or not type.isdigit():
        raise Invalid(f"type must be the number of an alert's type, not {type!r}")
    return int(type)
