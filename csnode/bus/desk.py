"""The desk: where other nodes' calls arrive, and their answers leave."""

from __future__ import annotations

import asyncio

from csnode.bus.envelope import Answer, Cancel, Failure, Outbox, Request, asked, codec_of, failure
from csnode.bus.local import LocalBus
from csnode.bus.service import Method, contracts_of, methods_of
from csnode.bus.transport import Sockets
from csnode.clock import now
from csnode.context import acting
from csnode.faults import Fault, Unavailable
from csnode.log import logger

log = logger("bus")
LAST_WORDS_MS = 200  # for answers under way when we close


class Desk:
    """Runs each call under its caller's trace, fence and remaining time."""

    def __init__(self, local: LocalBus, sockets: Sockets, address: str, port: int) -> None:
        self._local = local
        self._methods: dict[str, Method] = {}
        self._running: dict[tuple[bytes, int], asyncio.Task[None]] = {}
        self._outbox = Outbox(self._send)
        self._transport, self.endpoint = sockets.answering(address, port, self._got)

    def offer(self, served: object) -> None:
        """Take calls of every contract the object inherits."""
        for contract in contracts_of(type(served)):
            for method in methods_of(contract).values():
                self._methods[method.name] = method

    async def close(self) -> None:
        """Cancel what runs; what is answered already still leaves."""
        running = list(self._running.values())
        for task in running:
            task.cancel()
        await asyncio.gather(*running, return_exceptions=True)
        self._outbox.flush()
        self._transport.abort(LAST_WORDS_MS)

    def _send(self, caller: bytes, frame: bytes) -> None:
        self._transport.write((caller, frame))

    def _reply(self, caller: bytes, message: Answer | Failure, size: int = 0) -> None:
        self._outbox.put(caller, message, size)

    def _got(self, parts: list[bytes]) -> None:
        caller = parts[0]
        try:
            messages = asked(parts[-1])
        except Fault as fault:  # whoever sent it will wait in vain, and knows how long
            log.warning("ignored", why=fault.message, detail=fault.detail)
            return
        for message in messages:
            if isinstance(message, Cancel):
                task = self._running.get((caller, message.id))
                if task is not None:
                    task.cancel()
                continue
            try:
                self._begin(caller, message)
            except Fault as fault:
                self._reply(caller, failure(message.id, fault))

    def _begin(self, caller: bytes, request: Request) -> None:
        method = self._methods.get(request.method)
        server = self._local.server_of(method.contract, request.at) if method else None
        if method is None or server is None:
            where = f" at {request.at}" if request.at else ""
            raise Unavailable(f"{request.method} is not served here{where}")
        args = codec_of(method).arguments(request.arguments)
        deadline = now() + request.remaining_ms / 1000
        work = self._serve(caller, request, server, method, args, deadline)
        task = asyncio.get_running_loop().create_task(work)
        self._running[caller, request.id] = task

    async def _serve(
        self,
        caller: bytes,
        request: Request,
        server: object,
        method: Method,
        args: tuple[object, ...],
        deadline: float,
    ) -> None:
        context = request.context
        try:
            remaining_s = deadline - now()
            if remaining_s <= 0:  # nobody waits for it any more
                return
            with acting(trace=context.trace, caller=context.caller, fence=context.fence):
                value = await self._local.answer(server, method, args, remaining_s)
            packed = codec_of(method).packed_answer(value)
            self._reply(caller, Answer(id=request.id, value=packed), len(packed))
        except Fault as fault:
            self._reply(caller, failure(request.id, fault), len(fault.message) + len(fault.detail))
        finally:
            self._running.pop((caller, request.id), None)
