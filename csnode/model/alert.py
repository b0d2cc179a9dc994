"""Alerts: what operators must hear of, as listAlerts shows it."""

from __future__ import annotations

from typing import Annotated, ClassVar

from csnode.model.entity import Entity, Key, Was
from csnode.model.owner import Operators, Ownership
from csnode.types import ClusterId, HostId, PodId, ZoneId


class Alert(Entity):
    """One thing that went wrong; id: AlertId. The same thing again raises `count`."""

    kind: ClassVar[str] = "alert"
    owned_by: ClassVar[Ownership] = Operators()
    told_by: ClassVar[tuple[str, ...]] = ("monitor",)

    type: int  # CloudStack's AlertType, for example 7 ALERT_TYPE_HOST
    name: str  # its word: ALERT.HOST
    text: str
    zone: Annotated[ZoneId | None, Key(), Was(to="zone")] = None
    pod: Annotated[PodId | None, Was(to="pod")] = None
    cluster: Annotated[ClusterId | None, Was(to="cluster")] = None
    host: Annotated[HostId | None, Was(to="host")] = None
    sent: float = 0.0
    count: int = 1
    archived: bool = False
