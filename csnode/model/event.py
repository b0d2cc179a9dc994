"""What users see in listEvents: who did what to which object, and how it ended."""

from __future__ import annotations

from enum import StrEnum
from typing import Annotated, ClassVar

from csnode.model.entity import Entity, Key, Was
from csnode.model.owner import ByAccount, Ownership
from csnode.types import AccountId, DomainId, JobId, UserId


class EventLevel(StrEnum):
    """How bad it is; the words are CloudStack's."""

    INFO = "INFO"
    WARN = "WARN"
    ERROR = "ERROR"


class EventState(StrEnum):
    """How far it is; the words are CloudStack's."""

    SCHEDULED = "Scheduled"
    STARTED = "Started"
    COMPLETED = "Completed"


class UserEvent(Entity):
    """One line of history; type is CloudStack's, for example VM.CREATE."""

    kind: ClassVar[str] = "event"
    owned_by: ClassVar[Ownership] = ByAccount()

    type: str
    description: str
    account: Annotated[AccountId, Key(), Was(to="account")]
    domain: Annotated[DomainId, Was(to="domain")]
    user: Annotated[UserId | None, Was(to="user")] = None
    level: EventLevel = EventLevel.INFO
    state: EventState = EventState.COMPLETED
    job: Annotated[JobId | None, Was(to="job")] = None
    object_kind: str = ""
    object_id: Annotated[str, Was(to="")] = ""  # of that kind
    trace: str = ""  # of the request behind it
    created: float = 0.0
    asked: str = ""  # digest of the parameters, for a request that may be repeated
