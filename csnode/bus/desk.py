"""The desk: where other nodes' calls arrive, and their answers leave."""

from __future__ import annotations

import asyncio
from collections import Counter

from csnode.bus import admission
from csnode.bus.envelope import (
    Answer,
    Cancel,
    Codec,
    Failure,
    Outbox,
    Request,
    asked,
    codec_of,
    failure,
)
from csnode.bus.local import LocalBus
from csnode.bus.service import Method, contracts_of, methods_of
from csnode.bus.wiring import Wiring
from csnode.context import Context, Principal, enter, prove
from csnode.faults import Denied, Fault, Invalid, Unavailable
from csnode.log import logger
from csnode.trust.refusals import Refusals

log = logger("bus")
LAST_WORDS_MS = 200  # for answers under way when we close
RUNNING_MAX = 4096  # calls of one machine at a time; a process of it asks no more than 1,024


class Desk:
    """Runs each call under its caller's trace, fence and remaining time.

    Who calls is looked up for every frame that arrives: whoever was put out is refused at once,
    on a connection that stands too.
    """

    def __init__(self, local: LocalBus, sockets: Wiring, address: str, port: int) -> None:
        self._local, self._sockets = local, sockets
        self.refusals = Refusals("call")
        self._loop = asyncio.get_running_loop()
        self._methods: dict[str, tuple[Method, Codec]] = {}
        self._running: dict[tuple[bytes, int], tuple[asyncio.Task[None], asyncio.TimerHandle]] = {}
        self._counts: Counter[str] = Counter()  # of those, by their callers' machines
        self._outbox = Outbox(self._send)
        self._transport, self.endpoint = sockets.answering(address, port, self._got)

    def offer(self, served: object) -> None:
        """Take calls of every contract the object inherits."""
        for contract in contracts_of(type(served)):
            for method in methods_of(contract).values():
                self._methods[method.name] = method, codec_of(method)

    async def close(self) -> None:
        """Cancel what runs; what is answered already still leaves."""
        running = [task for task, _ in self._running.values()]
        for task in running:
            task.cancel()
        await asyncio.gather(*running, return_exceptions=True)
        self._outbox.flush()
        self._transport.abort(LAST_WORDS_MS)

    def _send(self, caller: bytes, frame: bytes) -> None:
        self._transport.write((caller, frame))

    def _reply(self, caller: bytes, message: Answer | Failure, size: int = 0) -> None:
        self._outbox.put(caller, message, size)

    def _got(self, parts: list[bytes], key: str) -> None:
        caller = parts[0]
        who = self._sockets.who(key) if self._sockets.proves else None
        try:
            messages = asked(parts[-1])
        except Fault as fault:  # whoever sent it will wait in vain, and knows how long
            log.warning("ignored", why=fault.message, detail=fault.detail)
            return
        for message in messages:
            if isinstance(message, Cancel):
                if (caller, message.id) in self._running:
                    self._running[caller, message.id][0].cancel()
                continue
            try:
                self._begin(caller, who, message)
            except Fault as fault:
                self._reply(caller, failure(message.id, fault))

    def _begin(self, caller: bytes, who: Principal | None, request: Request) -> None:
        if who is None and self._sockets.proves:
            self.refusals.note("somebody", "put out, or its time is over", method=request.method)
            raise Denied("you do not belong to this cluster any more")
        method, codec = self._methods.get(request.method, (None, None))
        server = self._local.server_of(method.contract, request.at) if method else None
        if method is None or codec is None or server is None:
            where = f" at {request.at}" if request.at else ""
            raise Unavailable(f"{request.method} is not served here{where}")
        if request.remaining_ms <= 0:  # nobody waits for it any more
            return
        if who is not None:
            self._check(who, method, request.context)
        key, whose = (caller, request.id), who.name if who is not None else caller.hex()
        if key in self._running:
            raise Invalid("a call with that number is under way")
        if self._counts[whose] >= RUNNING_MAX:
            raise Unavailable(f"too many calls of {whose} are under way")
        args = codec.arguments(request.arguments)
        task = self._loop.create_task(self._serve(key, who, request.context, server, method, args))
        # The caller gives up by its own clock, so it need not be told.
        late = self._loop.call_later(request.remaining_ms / 1000, task.cancel)
        self._running[key] = task, late
        self._counts[whose] += 1
        task.add_done_callback(lambda _: self._done(key, whose))

    def _check(self, who: Principal, method: Method, context: Context) -> None:
        try:
            admission.check(who, method, context)
        except Denied as denied:
            self.refusals.note(who.name, denied.message)
            raise

    async def _serve(
        self,
        key: tuple[bytes, int],
        who: Principal | None,
        context: Context,
        server: object,
        method: Method,
        args: tuple[object, ...],
    ) -> None:
        enter(context)
        prove(who)
        caller, id = key
        try:
            value = await self._local.run(server, method, args)
            packed = codec_of(method).packed_answer(value)
            self._reply(caller, Answer(id=id, value=packed), len(packed))
        except Fault as fault:
            self._reply(caller, failure(id, fault), len(fault.message) + len(fault.detail))

    def _done(self, key: tuple[bytes, int], whose: str) -> None:
        _, late = self._running.pop(key)
        late.cancel()
        self._counts[whose] -= 1
        if not self._counts[whose]:
            del self._counts[whose]
