"""A connection to a daemon by a library that blocks: kept up, and used from threads."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor, wait
from contextlib import suppress
from typing import Any, Generic, Protocol, TypeVar

from csnode.faults import Fault, Unavailable
from csnode.log import logger

log = logger("link")
THREADS = 8
FIRST_DIAL_S = 5.0  # how long opening waits for the daemon before it goes on without
REDIAL_S = (0.1, 5.0)  # the pause after the first vain attempt, and the longest


class Line(Protocol):
    """What a connection can do; each call may block."""

    def alive(self) -> bool:
        """Tell whether the other end is still there, as far as is known; does not block."""
        ...

    def hang_up(self) -> None:
        """Give the connection back, dead or not; never fails."""
        ...


LineT = TypeVar("LineT", bound=Line)
T = TypeVar("T")


class Link(Generic[LineT]):
    """Holds one line at a time; one that was lost is dialled again until there is an answer.

    `dial` is given what to call, from any thread, when its line is found dead. It and all work
    raise Faults only.
    """

    def __init__(self, who: str, dial: Callable[[Callable[[], None]], LineT]) -> None:
        self._who, self._dial = who, dial
        self._threads = ThreadPoolExecutor(THREADS, "link")
        self._line: LineT | None = None
        self._users: set[Future[Any]] = set()  # work under way on the line
        self._lost = asyncio.Event()
        self._dialled = asyncio.Event()
        self._why = f"{who} does not answer yet"

    async def open(self) -> None:
        """Connect; if nobody answers, go on and keep trying."""
        self._staying = asyncio.create_task(self._stay())
        with suppress(TimeoutError):
            async with asyncio.timeout(FIRST_DIAL_S):
                await self._dialled.wait()

    async def close(self) -> None:
        """Hang up; work under way ends by itself."""
        self._staying.cancel()
        await asyncio.gather(self._staying, return_exceptions=True)
        self._drop()
        self._threads.shutdown(wait=False)

    async def call(self, work: Callable[[LineT], T]) -> T:
        """Run the work with the line, in a thread. Raises Unavailable while there is none.

        A caller that stops waiting does not stop the work.
        """
        line = self._line
        if line is None:
            raise Unavailable(self._why)
        try:
            return await asyncio.wrap_future(self._submit(work, line))
        except Unavailable as fault:
            if line is self._line and not line.alive():
                self._lose(fault.message)
            raise

    def _submit(self, work: Callable[[LineT], T], line: LineT) -> Future[T]:
        users = self._users
        doing = self._threads.submit(work, line)
        users.add(doing)
        doing.add_done_callback(users.discard)
        return doing

    def _lose(self, why: str) -> None:
        self._why = why
        self._drop()
        self._lost.set()

    def _drop(self) -> None:
        """Hang up, in a thread, once nobody is inside the library with this line any more."""
        line, users = self._line, tuple(self._users)
        self._line, self._users = None, set()

        def hang_up(line: LineT) -> None:
            wait(users)
            line.hang_up()

        if line is not None:
            _daemon(lambda: hang_up(line))

    async def _stay(self) -> None:
        pause_s, longest_s = REDIAL_S
        while True:
            self._lost.clear()
            try:
                self._line = await self._dial_once()
            except Fault as fault:
                self._why = fault.message
                self._dialled.set()
                await asyncio.sleep(pause_s)
                pause_s = min(2 * pause_s, longest_s)
                continue
            pause_s = REDIAL_S[0]
            self._dialled.set()
            log.info("connected", to=self._who)
            await self._lost.wait()
            log.warning("connection lost", to=self._who, why=self._why)

    async def _dial_once(self) -> LineT:
        loop = asyncio.get_running_loop()
        dialled: list[LineT] = []

        def dead() -> None:
            if dialled and self._line is dialled[0]:
                self._lose(f"{self._who} does not answer: it closed the connection")

        line = await in_daemon(lambda: self._dial(lambda: _to_loop(loop, dead)))
        dialled.append(line)
        return line


async def in_daemon(work: Callable[[], T]) -> T:
    """Run the work in a thread that nobody waits for when the process ends.

    A daemon that is stopped answers nothing, and may leave its caller waiting for ever.
    """
    loop = asyncio.get_running_loop()
    done: asyncio.Future[T] = loop.create_future()

    def settle(tell: Callable[[Any], None], what: Any) -> None:
        if not done.done():
            tell(what)

    def run() -> None:
        try:
            result = work()
        except Exception as error:  # noqa: BLE001 (raised where the work is awaited)
            _to_loop(loop, settle, done.set_exception, error)
        else:
            _to_loop(loop, settle, done.set_result, result)

    _daemon(run)
    return await done


def _daemon(work: Callable[[], None]) -> None:
    threading.Thread(target=work, name="link", daemon=True).start()


def _to_loop(loop: asyncio.AbstractEventLoop, told: Callable[..., None], *words: Any) -> None:
    with suppress(RuntimeError):  # the loop is closed: nobody wants to know any more
        loop.call_soon_threadsafe(told, *words)
