"""How a saga is declared: steps in the order written, each with its undo beneath it.

A step is a cached property that is remembered in the database: later steps read its result by
its name. What a step adds to `self.change` is committed together with the record that it is
done, so such changes happen exactly once. Calls to components happen at least once. If a step
fails, every step that started is undone, last first.

Steps run in the order of the class body. Changing the steps of a saga that may be in flight
makes a new saga with an order of its own; jobs that began with the old one end with the old one.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from functools import cached_property
from typing import Any, ClassVar, Generic, TypeGuard, TypeVar, get_type_hints, overload

import msgspec

from csnode.bus.bus import Bus
from csnode.data.change import Change
from csnode.data.store import Store
from csnode.data.view import View
from csnode.faults import Broken, Fault, NotFound, Outdated, Stale
from csnode.model.job import Job, Tried
from csnode.model.orders import Order
from csnode.plugins import declared

T = TypeVar("T")
SagaT = TypeVar("SagaT", bound="Saga[Any]")
OrderT = TypeVar("OrderT", bound=Order)
ServiceT = TypeVar("ServiceT")


class Step(Generic[T]):
    """One step of a saga."""

    def __init__(self, do: Callable[[Any], Awaitable[T]]) -> None:
        self.do = do
        self.undoing: Callable[[Any], Awaitable[None]] | None = None
        self.name = do.__name__
        self.__doc__ = do.__doc__

    def undo(
        self, undoing: Callable[[SagaT], Awaitable[None]]
    ) -> Callable[[SagaT], Awaitable[None]]:
        """Mark what to do if this or a later step fails. It may not read this step's own result."""
        self.undoing = undoing
        return undoing

    @cached_property
    def result_type(self) -> Any:
        return get_type_hints(self.do)["return"]

    @overload
    def __get__(self, saga: None, owner: type) -> Step[T]: ...
    @overload
    def __get__(self, saga: Saga[Any], owner: type) -> T: ...
    def __get__(self, saga: Saga[Any] | None, owner: type) -> Step[T] | T:
        if saga is None:
            return self
        if self.name not in saga.results:
            raise Broken(f"step {self.name} has no result yet")
        result: T = saga.results[self.name]
        return result

    def __str__(self) -> str:
        return self.name


step = Step


def _is_step(member: object) -> TypeGuard[Step[Any]]:
    return isinstance(member, Step)


class Saga(Generic[OrderT]):
    """The work one order asks for. `view` is a hint of what is there; `store` is the truth."""

    order_type: ClassVar[type[Order]]
    event: ClassVar[str] = ""  # what listEvents calls it, for example VM.START

    def __init__(self, job: Job, order: OrderT, bus: Bus, store: Store, view: View) -> None:
        self.job, self.order = job, order
        self.bus, self.store, self.view = bus, store, view
        self.results: dict[str, Any] = {}
        self.change: Change = store.change()

    def take_change(self) -> Change:
        """Return what was added to `change` so far, and begin a new one."""
        taken, self.change = self.change, self.store.change()
        return taken

    def __init_subclass__(cls) -> None:
        """Read from Saga[SomeOrder] whose saga it is; Saga[OrderT] is for others to build on."""
        bases: tuple[Any, ...] = vars(cls).get("__orig_bases__", ())
        order = bases[0].__args__[0] if bases else None
        if isinstance(order, type) and issubclass(order, Order):
            cls.order_type = order

    async def turned(self) -> None:
        """Tell whoever was asked for anything that earlier orders of this job count no more.

        Before anything is undone. It only helps: a host that cannot be asked is passed over.
        """

    def elsewhere(self, step: str, fault: Fault) -> Tried | None:
        """Return the place that the step failed at, if the job may come to its end at another.

        Then all is undone, and the job begins anew; `job.tried` has the places it is to avoid.
        """
        del step, fault
        return None

    async def succeeded(self) -> None:
        """Add to `self.change` what is to be true in the moment the job is done."""

    async def failed(self, why: str) -> None:
        """Add to `self.change` what is to be true once everything is undone."""

    async def commit(self, change: Change) -> int:
        """Commit now, apart from the step's record, while the job is still ours.

        Returns the commit's number. Raises Outdated, and nothing has changed, if the job has been
        taken over or has turned since; Stale if another row of the change has moved on.
        """
        change.require_first(Job, self.job.id, revision=self.job.revision)
        try:
            return (await change.commit()).number
        except (Stale, NotFound) as fault:
            try:
                found = await self.store.get(Job, self.job.id)
            except NotFound:
                found = None
            if found is None or found.revision != self.job.revision:
                raise Outdated(f"job {self.job.id} is no longer ours") from fault
            raise

    def ask(self, contract: type[ServiceT], at: str | None = None) -> ServiceT:
        """Ask whoever serves the contract, at one host or pool if given."""
        return self.bus.ask(contract, at)

    @classmethod
    def steps(cls) -> tuple[Step[Any], ...]:
        """Return the steps, in the order written."""
        return tuple(filter(_is_step, vars(cls).values()))


def sagas() -> dict[str, type[Saga[Any]]]:
    """Return installed sagas by their orders' verbs: those in modules of the group csnode.sagas."""
    found: dict[str, type[Saga[Any]]] = {}
    for member in declared("sagas"):
        if issubclass(member, Saga) and "order_type" in member.__dict__:
            found[member.order_type.verb()] = member
    return dict(sorted(found.items()))


def order_of(kind: type[Saga[Any]], job: Job) -> Order:
    """Return the job's order, typed. Raises Broken if it was written by an unknown version."""
    try:
        return msgspec.convert(job.order, kind.order_type)
    except msgspec.ValidationError as error:
        raise Broken(f"the order of job {job.id} cannot be read", detail=str(error)) from error
