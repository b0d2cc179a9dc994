"""The bus: what a role may do with the rest of the cloud."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence
from typing import Any, Protocol, TypeVar, cast

from csnode.bus.event import Event
from csnode.bus.service import Method, methods_of
from csnode.bus.streams import Streams
from csnode.directory.directory import Directory
from csnode.faults import Broken

ServiceT = TypeVar("ServiceT")
EventT = TypeVar("EventT", bound=Event)
Handler = Callable[[EventT], Awaitable[None] | None]


class Bus(Protocol):
    """Every implementation passes csnode.testing.bus.BusSuite."""

    @property
    def directory(self) -> Directory:
        """Who is there."""
        ...

    @property
    def streams(self) -> Streams | None:
        """What carries the feed's events instead, with [bus] events = "redis"."""
        ...

    def serve(self, served: object, at: Sequence[str] = ()) -> None:
        """Answer calls of every contract the object inherits, at those hosts or pools."""
        ...

    def retire(self, served: object) -> None:
        """Answer no more calls with this object."""
        ...

    def publish(self, event: Event) -> None:
        """Tell whoever listens; never waits, never fails."""
        ...

    def subscribe(self, kind: type[EventT], handler: Handler[EventT], topic: str = "") -> None:
        """Call the handler with every such event (of that topic), in the order published.

        A handler that returns an awaitable runs as a task of its own.
        """
        ...

    def unsubscribe(self, kind: type[EventT], handler: Handler[EventT], topic: str = "") -> None:
        """Call the handler no more; one that was not subscribed is none of ours."""
        ...

    def ask(self, contract: type[ServiceT], at: str | None = None) -> ServiceT:
        """Return a typed proxy: each call goes to a server of the contract (at that host or pool).

        Calls raise the Fault their server raised; Unavailable if nobody serves the contract, if
        too many calls are under way, or if no answer came within the method's time.
        """
        ...


Send = Callable[[Method, str | None, tuple[Any, ...]], Awaitable[Any]]


class Proxy:
    """Stands for a contract; its methods are made once and kept."""

    def __init__(self, contract: type, at: str | None, send: Send) -> None:
        self._methods = methods_of(contract)
        self._at, self._send = at, send

    def __getattr__(self, name: str) -> Callable[..., Awaitable[Any]]:
        method = self._methods.get(name)
        if method is None:
            raise AttributeError(name)
        send, at, arity = self._send, self._at, len(method.arguments)

        def call(*args: Any) -> Awaitable[Any]:
            if len(args) != arity:
                raise Broken(f"{method.name} takes {arity} arguments, by position")
            return send(method, at, args)

        setattr(self, name, call)
        return call


def proxy(contract: type[ServiceT], at: str | None, send: Send) -> ServiceT:
    """Return a Proxy, typed as the contract it stands for."""
    return cast("ServiceT", Proxy(contract, at, send))
