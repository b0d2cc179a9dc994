"""The fencer that runs an operator's program: what fence agents are to other clusters.

PROGRAM [ARGUMENTS] ACTION NAME ADDRESS, with the action off, on or status. Exit status 0 of `off`
is the proof that the host is off; of `status` that it is on; anything else, and no answer in time,
proves nothing. `status` may print "off" to say so with status 2, as fence agents do.
"""

from __future__ import annotations

import asyncio
import os
import signal
from contextlib import suppress

from csnode.drivers.fencer import Fencer
from csnode.faults import Refused, Unavailable
from csnode.types import Struct

OFF_STATUS = 2  # of `status`: the host is off
SAID_MAX = 300


class CommandOptions(Struct, forbid_unknown_fields=True):
    """What is run."""

    program: str
    arguments: tuple[str, ...] | str = ()  # a text is split at white space
    within_seconds: float | str = 30.0


class CommandFencer(Fencer):
    """No shell is involved: names and addresses reach the program as they are."""

    options_type = CommandOptions
    options: CommandOptions

    async def fence(self) -> str:
        status, said = await self._run("off")
        if status != 0:
            raise Unavailable(
                f"{self.options.program} could not switch {self.seat.name} off: "
                f"{said or f'exit status {status}'}"
            )
        return f"{self.options.program} says that it is off{f': {said}' if said else ''}"

    async def power(self) -> str:
        status, _ = await self._run("status")
        return {0: "on", OFF_STATUS: "off"}.get(status, "")

    async def restore(self) -> None:
        status, said = await self._run("on")
        if status != 0:
            raise Unavailable(f"{self.options.program} could not switch {self.seat.name} on: "
                              f"{said or f'exit status {status}'}")  # fmt: skip

    async def _run(self, action: str) -> tuple[int, str]:
        """Exit status, and the last line that it wrote. One that takes too long is ended."""
        options, seat = self.options, self.seat
        given = options.arguments
        arguments = given.split() if isinstance(given, str) else given
        try:
            running = await asyncio.create_subprocess_exec(
                options.program, *arguments, action, seat.name, seat.address,
                stdin=asyncio.subprocess.DEVNULL, stdout=asyncio.subprocess.PIPE,
                stderr=asyncio.subprocess.STDOUT, start_new_session=True,
            )  # fmt: skip
        except OSError as error:
            raise Refused(f"cannot run {options.program}: {error.strerror}") from error
        try:
            async with asyncio.timeout(float(options.within_seconds)):
                said, _ = await running.communicate()
        except TimeoutError:
            raise Unavailable(
                f"{options.program} did not answer within {options.within_seconds} s"
            ) from None
        finally:
            if running.returncode is None:
                with suppress(ProcessLookupError):
                    os.killpg(running.pid, signal.SIGKILL)
                await running.wait()
        lines = said.decode(errors="replace").strip().splitlines()
        return running.returncode or 0, lines[-1][:SAID_MAX] if lines else ""
