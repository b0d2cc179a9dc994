"""Alerts, as root admins see them."""

from __future__ import annotations

from typing import Annotated, ClassVar

from csnode.api.about import About, Date, Short
from csnode.api.view import Shown, date
from csnode.data.view import View
from csnode.model.alert import Alert
from csnode.model.entity import Entity


class AlertView(Shown):
    """An alert."""

    key: ClassVar[str] = "alert"
    of: ClassVar[type[Entity]] = Alert
    newest_first: ClassVar[bool] = True

    id: Annotated[str, About("the id of the alert")]
    type: Annotated[Short, About("CloudStack's number of its type")]
    name: Annotated[str, About("the word for its type")]
    description: Annotated[str, About("what went wrong")]
    sent: Annotated[Date | None, About("when it was last so")] = None

    @classmethod
    def made(cls, row: Alert, view: View) -> AlertView:
        del view
        again = f" ({row.count} times)" if row.count > 1 else ""
        return cls(
            id=row.id,
            type=row.type,
            name=row.name,
            description=row.text + again,
            sent=date(row.sent),
        )

    @classmethod
    def hidden(cls, row: Alert, view: View) -> bool:
        """Return True: alerts are no user's business."""
        del row, view
        return True
