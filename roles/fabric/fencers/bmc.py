"""The fencer by a host's management board: Redfish over HTTPS, or IPMI 2.0.

pyghmi speaks both; it blocks, so each question has a thread of its own that nobody waits for
longer than it is worth. Only a board that says "off" after it was told so is proof.
"""

from __future__ import annotations

import asyncio
import hashlib
import threading
from collections.abc import Callable
from typing import Any, ClassVar, Literal

from pyghmi.ipmi.command import Command as IpmiCommand
from pyghmi.redfish.command import Command as RedfishCommand

from csnode.clock import now
from csnode.drivers.fencer import OFF, ON, Fencer
from csnode.faults import Fault, Refused, Unavailable
from csnode.types import Struct

OFF_WITHIN_S = 20.0
LOOK_S = 0.5
ANSWER_S = 15.0
_ipmi_turn = threading.Lock()  # pyghmi's IPMI sessions share sockets and state


class BmcOptions(Struct, forbid_unknown_fields=True):
    """Where the board is and who may use it. Texts, as the API gives them."""

    address: str
    user: str
    password: str
    protocol: Literal["redfish", "ipmi"] = "redfish"
    port: int | str = 0  # 0: 443 or 623
    fingerprint: str = ""  # SHA-256 of the board's certificate, in hex; redfish wants it
    insecure: bool | str = False  # redfish: believe any certificate


class BmcFencer(Fencer):
    """Each verb is a session of its own: boards have few, and forget them badly."""

    options_type = BmcOptions
    options: BmcOptions
    secrets: ClassVar[frozenset[str]] = frozenset({"password"})

    async def fence(self) -> str:
        await self._asked(lambda board: board.set_power(OFF))
        if not await self._becomes(OFF):
            raise Unavailable(f"the board of {self.seat.name} was told, and does not say off")
        return f"the board at {self.options.address} says that it is off"

    async def power(self) -> str:
        state = str((await self._asked(lambda board: board.get_power())).get("powerstate", ""))
        return state if state in (ON, OFF) else ""

    async def restore(self) -> None:
        await self._asked(lambda board: board.set_power(ON))

    async def _becomes(self, wanted: str) -> bool:
        until = now() + OFF_WITHIN_S
        while await self.power() != wanted:
            if now() > until:
                return False
            await asyncio.sleep(LOOK_S)
        return True

    async def _asked(self, question: Callable[[Any], Any]) -> Any:
        try:
            async with asyncio.timeout(ANSWER_S):
                return await _in_thread(lambda: self._session(question))
        except TimeoutError:
            raise Unavailable(f"the board of {self.seat.name} does not answer") from None

    def _session(self, question: Callable[[Any], Any]) -> Any:
        try:
            if self.options.protocol == "redfish":
                return question(self._redfish())
            if not _ipmi_turn.acquire(timeout=ANSWER_S):  # then nobody waits for us any more
                raise Unavailable(f"the board of {self.seat.name} was not asked: others are slow")
            try:
                return self._in_ipmi_session(question)
            finally:
                _ipmi_turn.release()
        except Fault:
            raise
        except Exception as error:  # pyghmi stumbles in many ways over what boards answer
            raise Unavailable(
                f"the board of {self.seat.name} cannot be used: {type(error).__name__}",
                detail=str(error),
            ) from error

    def _in_ipmi_session(self, question: Callable[[Any], Any]) -> Any:
        board = self._ipmi()
        try:
            return question(board)
        finally:
            board.ipmi_session.logout()

    def _redfish(self) -> Any:
        options = self.options
        return RedfishCommand(
            options.address, options.user, options.password,
            verifycallback=self._trusted, port=int(options.port) or 443,
        )  # fmt: skip

    def _ipmi(self) -> Any:
        options = self.options
        return IpmiCommand(  # told texts, it forgets no session, and takes an ended one up again
            bmc=options.address, userid=options.user.encode(), password=options.password.encode(),
            port=int(options.port) or 623, keepalive=False,
        )  # fmt: skip

    def _trusted(self, certificate: bytes) -> bool:
        """Tell whether the board's certificate is trusted. Raises Refused.

        Whoever impersonates a board could say "off" of a host that runs.
        """
        options = self.options
        if options.insecure in (True, "true"):
            return True
        found = hashlib.sha256(certificate).hexdigest()
        if found != options.fingerprint.replace(":", "").lower():
            raise Refused(
                f"the board of {self.seat.name} shows a certificate with the fingerprint {found}, "
                "which is not the one in its options"
            )
        return True


async def _in_thread(work: Callable[[], Any]) -> Any:
    """Run as asyncio.to_thread does, but a thread that hangs holds up nobody's end."""
    loop = asyncio.get_running_loop()
    answer: asyncio.Future[Any] = loop.create_future()

    def tell(result: Any, error: BaseException | None) -> None:
        if answer.done():
            return
        if error is None:
            answer.set_result(result)
        else:
            answer.set_exception(error)

    def run() -> None:
        result, error = None, None
        try:
            result = work()
        except Exception as caught:  # noqa: BLE001 (it is raised again where it is awaited)
            error = caught
        if not loop.is_closed():
            loop.call_soon_threadsafe(tell, result, error)

    threading.Thread(target=run, daemon=True, name="bmc").start()
    return await answer
