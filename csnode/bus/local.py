"""The bus within one process: a call is a plain await, and nothing is encoded."""

from __future__ import annotations

import asyncio
from collections import defaultdict
from collections.abc import Sequence
from contextlib import suppress
from typing import Any, TypeVar

from csnode.bus.bus import Handler, proxy
from csnode.bus.event import Event
from csnode.bus.service import Method, contracts_of
from csnode.bus.streams import Streams
from csnode.context import ourselves, proved
from csnode.directory.directory import Directory
from csnode.faults import Broken, Fault, Unavailable
from csnode.log import logger

ServiceT = TypeVar("ServiceT")
EventT = TypeVar("EventT", bound=Event)
IN_FLIGHT_MAX = 4096
log = logger("bus")


class LocalBus:
    """Serves and asks within the process; the ZeroMQ bus asks it first."""

    def __init__(self, directory: Directory, streams: Streams | None = None) -> None:
        self.directory, self.streams = directory, streams
        self.in_flight = 0
        self._served: dict[type, dict[str | None, object]] = defaultdict(dict)
        self._handlers: dict[tuple[type[Event], str], list[Handler[Any]]] = defaultdict(list)
        self._tasks: set[asyncio.Future[None]] = set()
        self._proxies: dict[tuple[type, str | None], Any] = {}

    def serve(self, served: object, at: Sequence[str] = ()) -> None:
        for contract in contracts_of(type(served)):
            for place in at or (None,):
                self._served[contract][place] = served

    def retire(self, served: object) -> None:
        for places in self._served.values():
            for place in [p for p, s in places.items() if s is served]:
                del places[place]

    def serving(self) -> dict[str, tuple[str, ...]]:
        """Return the contract names served here, with their hosts or pools."""
        return {
            contract.__name__: tuple(sorted(p for p in places if p is not None))
            for contract, places in self._served.items()
            if places
        }

    def server_of(self, contract: type, at: str | None) -> object | None:
        """Return the object that serves the contract here, at that place; any place if None."""
        places = self._served.get(contract)
        if not places:
            return None
        if at is None:
            return next(iter(places.values()))
        return places.get(at) or places.get(None)

    def subscribe(self, kind: type[EventT], handler: Handler[EventT], topic: str = "") -> None:
        self._handlers[kind, topic].append(handler)

    def unsubscribe(self, kind: type[EventT], handler: Handler[EventT], topic: str = "") -> None:
        with suppress(ValueError):
            self._handlers[kind, topic].remove(handler)

    def publish(self, event: Event) -> None:
        """Run handlers in the order they subscribed, each event after the one before it."""
        if self.streams is not None:
            self.streams.noted.set()
        for topic in dict.fromkeys(("", event.topic)):
            for handler in self._handlers.get((type(event), topic), ()):
                asyncio.get_running_loop().call_soon(self._deliver, handler, event)

    def _deliver(self, handler: Handler[Any], event: Event) -> None:
        reaction = handler(event)
        if reaction is not None:
            task = asyncio.ensure_future(reaction)
            self._tasks.add(task)
            task.add_done_callback(self._tasks.discard)

    def ask(self, contract: type[ServiceT], at: str | None = None) -> ServiceT:
        made = self._proxies.get((contract, at))
        if made is None:
            made = self._proxies[contract, at] = proxy(contract, at, self.send)
        return made

    async def send(self, method: Method, at: str | None, args: tuple[Any, ...]) -> Any:
        """Await the method of whoever serves it here."""
        server = self.server_of(method.contract, at)
        if server is None:
            where = f" at {at}" if at else ""
            raise Unavailable(f"nobody serves {method.contract.__name__}{where}")
        return await self.answer(server, method, args)

    async def answer(self, server: object, method: Method, args: tuple[Any, ...]) -> Any:
        """Await a served method, within its time; it is this process that calls."""
        if proved() is not None:
            with ourselves():
                return await self.answer(server, method, args)
        try:
            async with asyncio.timeout(method.answer_within_s):
                return await self.run(server, method, args)
        except TimeoutError as late:
            within = f"{method.answer_within_s:g} s"
            raise Unavailable(f"{method.name} did not answer within {within}") from late

    async def run(self, server: object, method: Method, args: tuple[Any, ...]) -> Any:
        """Await a served method, within the bound on calls in flight.

        A caller hears of faults only: whatever else goes wrong is a bug, logged here.
        """
        if self.in_flight >= IN_FLIGHT_MAX:
            raise Unavailable("too many calls are under way here", detail=method.name)
        self.in_flight += 1
        try:
            return await getattr(server, method.attribute)(*args)
        except Fault:
            raise
        except Exception as error:
            log.exception("a served method failed", method=method.name)
            raise Broken(f"an unexpected error in {method.name}", detail=repr(error)) from error
        finally:
            self.in_flight -= 1
