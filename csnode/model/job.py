"""A job: the durable record of one saga, and what queryAsyncJobResult shows."""

from __future__ import annotations

from enum import StrEnum
from typing import Annotated, Any, ClassVar

from csnode.model.entity import Entity, Key, Was
from csnode.model.orders import action_of
from csnode.model.owner import ByAccount, Operators, Ownership
from csnode.types import AccountId, NodeId, UserId


class JobState(StrEnum):
    """Where a job is."""

    WAITING = "waiting"
    RUNNING = "running"
    UNWINDING = "unwinding"
    DONE = "done"
    FAILED = "failed"
    STUCK = "stuck"  # an undo was refused for good: an operator must look


CLOSED = frozenset({JobState.DONE, JobState.FAILED, JobState.STUCK})


class StepTime(Entity):
    """When a step began and ended, and how often it was tried; id: the step's name."""

    kind: ClassVar[str] = ""

    began: float
    ended: float = 0.0
    tries: int = 1


class Tried(Entity):
    """A place where a job did not come to its end, and why; id: the host's or pool's."""

    kind: ClassVar[str] = ""

    name: str  # of the place, for people
    why: str


class Job(Entity):
    """One order, and how far it got; id: JobId.

    `owner` says which orchestrator works on it; every step it writes down is an update of this
    row at the revision it knows, so one that lost the job cannot go on. The fence of its calls
    is the number of the commit that claimed it: it grows from claim to claim and from job to job.
    """

    kind: ClassVar[str] = "job"
    owned_by: ClassVar[Ownership] = ByAccount(domain=None)

    verb: str  # the saga's name: "deploy_vm"
    order: dict[str, Any]  # the Order, as plain values: sagas come from plug-ins
    state: Annotated[JobState, Key()] = JobState.WAITING
    needs: tuple[str, ...] = ()  # objects it needs alone, "vm:ID"
    command: str = ""  # the API command behind it
    object_kind: str = ""
    object_id: Annotated[str, Key(), Was(to="")] = ""  # of that kind
    account: Annotated[AccountId | None, Key(), Was(to="account")] = None
    user: Annotated[UserId | None, Was(to="user")] = None
    trace: str = ""
    created: float = 0.0

    owner: NodeId | None = None
    started: tuple[str, ...] = ()
    results: dict[str, Any] = {}
    times: tuple[StepTime, ...] = ()
    fault: str = ""
    fault_code: int = 0
    ended: float = 0.0
    tried: tuple[Tried, ...] = ()  # places that it is not to be tried at again
    again: bool = False  # it unwinds only to be tried elsewhere

    @property
    def action(self) -> str:
        """What it does to its object."""
        return action_of(self.verb)

    @property
    def open(self) -> bool:
        """Whether there is work left to do."""
        return self.state not in CLOSED

    @property
    def holds(self) -> str:
        """The id of its object, while it is open or stuck: a view finds jobs at work by it.

        By `object_id` a view finds all that are kept, which may be thousands for one object.
        """
        return self.object_id if self.open or self.state is JobState.STUCK else ""

    @property
    def ends_undone(self) -> bool:
        """Whether it unwinds for good, and not to be tried elsewhere."""
        return self.state is JobState.UNWINDING and not self.again


class Cancel(Entity):
    """Somebody wants a job to end undone; id: the job's. It goes with the commit that ends it.

    A row of its own, because the job's row belongs to the engine: a second writer would make the
    engine believe that it lost the job.
    """

    kind: ClassVar[str] = "cancel"
    owned_by: ClassVar[Ownership] = Operators()

    by: str = ""  # who, for people: a user's name, or "an operator"
    created: float = 0.0
