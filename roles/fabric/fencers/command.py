"""The fencer that runs an operator's program: what fence agents are to other clusters.

PROGRAM [ARGUMENTS] ACTION NAME ADDRESS, with the action off, on or status. Exit status 0 of `off`
is the proof that the host is off; of `status` that it is on; anything else, and no answer in time,
proves nothing. `status` may print "off" to say so with status 2, as fence agents do.
"""

from __future__ import annotations

from csnode import program
from csnode.drivers.fencer import OFF, ON, Fencer
from csnode.faults import Refused, Unavailable
from csnode.program import Bounds
from csnode.types import Struct

OFF_STATUS = 2  # of `status`: the host is off
SAID_MAX = 300
SAID_BYTES = 1 << 16  # of what it printed, the last


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
        status, said = await self._run(OFF)
        if status != 0:
            raise Unavailable(
                f"{self.options.program} could not switch {self.seat.name} off: "
                f"{said or f'exit status {status}'}"
            )
        return f"{self.options.program} says that it is off{f': {said}' if said else ''}"

    async def power(self) -> str:
        status, _ = await self._run("status")
        return {0: ON, OFF_STATUS: OFF}.get(status, "")

    async def restore(self) -> None:
        status, said = await self._run(ON)
        if status != 0:
            raise Unavailable(f"{self.options.program} could not switch {self.seat.name} on: "
                              f"{said or f'exit status {status}'}")  # fmt: skip

    async def _run(self, action: str) -> tuple[int, str]:
        """Run the command; return its exit status, and the last line that it wrote.

        One that takes too long is ended.
        """
        options, seat = self.options, self.seat
        given = options.arguments
        arguments = given.split() if isinstance(given, str) else given
        words = (options.program, *arguments, action, seat.name, seat.address)
        within_s = float(options.within_seconds)
        try:
            ended = await program.run(
                words, Bounds(wall_s=within_s, output_bytes=SAID_BYTES), tail=True
            )
        except OSError as error:
            raise Refused(f"cannot run {options.program}: {error.strerror}") from error
        if ended.passed:
            raise Unavailable(f"{options.program} did not answer: {ended.passed}")
        lines = ended.out.decode(errors="replace").strip().splitlines()
        return ended.status, lines[-1][:SAID_MAX] if lines else ""
