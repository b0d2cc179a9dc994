"""Runs an outside program within bounds: the only module through which a role starts one.

Output is read in pieces and capped; CPU time, memory, the size of files and the wall clock are
limited. Whatever passes a bound is killed, with all that it started. If this machine runs out of
memory, the kernel kills the program before it kills us.
"""

from __future__ import annotations

import asyncio
import errno
import os
import shutil
import signal
from asyncio.subprocess import DEVNULL, PIPE, STDOUT, Process
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from functools import cache, partial
from pathlib import Path
from tempfile import TemporaryFile
from typing import IO, Any

from csnode.types import Struct

PIECE = 1 << 16
Reading = asyncio.Future[bytes]
NOBODY = 65534
OOM_FIRST = "1000"


class Bounds(Struct):
    """What one run of a program may take; 0: no bound of its own."""

    wall_s: float = 30.0
    output_bytes: int = 1 << 20  # standard output and error together
    cpu_s: int = 0
    memory_bytes: int = 0  # of address space
    file_bytes: int = 0  # that any one file may grow to


class Ended(Struct):
    """How a run ended. Its words are cut where the bound was."""

    status: int  # negative: the number of the signal that killed it
    out: bytes
    err: bytes
    passed: str = ""  # which bound it passed, for people; empty: none
    late: bool = False  # that bound was the wall clock's: the machine may be to blame
    killed: bool = False  # by SIGKILL, and not by us: for want of memory, or by somebody

    @property
    def said(self) -> str:
        """The words of its standard error."""
        return self.err.decode(errors="replace").strip()


class _Output:
    """What a program printed, up to a bound; at that it is ended by `end`."""

    def __init__(self, bound: int, tail: bool, end: Callable[[], None]) -> None:
        self.bound, self._tail, self._end = bound, tail, end
        self._total = 0

    async def read(self, stream: asyncio.StreamReader | None) -> bytes:
        """Read to the end, or the end of the program would not be seen (asyncio tells of it once
        its pipes are empty). In `tail` mode keep the last bytes, else those up to the bound.
        """
        kept = bytearray()
        while stream is not None and (piece := await stream.read(PIECE)):
            if self.over:
                continue
            kept += piece
            self._total += len(piece)
            if self._tail:
                del kept[: -self.bound]
            elif self.over:
                self._end()
        return bytes(kept)

    @property
    def over(self) -> bool:
        return not self._tail and self._total > self.bound


async def run(
    words: Sequence[str],
    bounds: Bounds,
    *,
    text: bytes = b"",
    stdin: IO[Any] | None = None,
    env: Mapping[str, str] | None = None,
    tail: bool = False,
    apart: Sequence[str] = (),
) -> Ended:
    """Run a program to its end, or to the first bound that it passes.

    `text` is its standard input, or else the file `stdin`; `apart` is what `way_apart` found, for
    a program that gets a stranger's input. With `tail` a program may print without
    end: the last words of its output and error together are kept, as `out`. Raises OSError if the
    program cannot be started.
    """
    # no pipe without text: uvloop raises if the command has ended before the pipe is closed
    given: Any = PIPE if text else stdin if stdin is not None else DEVNULL
    process = await asyncio.create_subprocess_exec(
        *_limits(bounds),
        *apart,
        _found(words[0], env.get("PATH") if env else None),
        *words[1:],
        stdin=given,
        stdout=PIPE,
        stderr=STDOUT if tail else PIPE,
        env=env,
        start_new_session=True,
    )
    output = _Output(bounds.output_bytes, tail, partial(_kill, process))
    reads = [asyncio.ensure_future(output.read(s)) for s in (process.stdout, process.stderr)]
    passed, late = "", False
    try:
        _go_first(process.pid)
        async with asyncio.timeout(bounds.wall_s):
            await _feed(process, text)
            passed = await _heard_out(process, output, reads)
    except TimeoutError:
        passed, late = f"it did not end within {bounds.wall_s:g} s", True
    finally:
        await _ended(process, reads)
    out, err = (b"" if read.cancelled() else read.result() for read in reads)
    status = process.returncode or 0
    killed = status == -signal.SIGKILL and not passed
    passed = passed or _by_signal(status, bounds)
    return Ended(status=status, out=out, err=err, passed=passed, late=late, killed=killed)


async def _heard_out(process: Process, output: _Output, reads: Sequence[Reading]) -> str:
    """Wait for the end of a program; return which bound its words passed, if they did."""
    await asyncio.wait(reads)  # which goes on reading if we are cancelled
    await process.wait()
    return f"it printed more than {output.bound} bytes" if output.over else ""


async def _ended(process: Process, reads: Sequence[Reading]) -> None:
    """Leave nothing behind, however the run went."""
    if process.returncode is None or not all(read.done() for read in reads):
        _kill(process)
        await process.wait()
    for read in reads:
        read.cancel()
    await asyncio.gather(*reads, return_exceptions=True)


async def start_daemon(words: Sequence[str], bounds: Bounds) -> Ended:
    """Run a program that goes on in the background by itself; return once it does.

    A daemon keeps what it was given as output, so it gets no pipe: we would wait for its end. Only
    its start is bounded. Raises OSError if the program cannot be started.
    """
    with TemporaryFile() as errors:
        process = await asyncio.create_subprocess_exec(
            *words, stdin=DEVNULL, stdout=DEVNULL, stderr=errors, start_new_session=True
        )
        passed = ""
        try:
            async with asyncio.timeout(bounds.wall_s):
                await process.wait()
        except TimeoutError:
            passed = f"it did not start within {bounds.wall_s:g} s"
        finally:
            if process.returncode is None:
                _kill(process)
                await process.wait()
        errors.seek(0)
        err = errors.read(bounds.output_bytes)
    late = bool(passed)
    return Ended(status=process.returncode or 0, out=b"", err=err, passed=passed, late=late)


async def way_apart() -> tuple[str, ...]:
    """Find the words that make a program nobody's, and without network: `apart` of `run`.

    Each way is tried; the strictest that this machine allows is returned. Raises OSError if there
    is none, not even the one that only sets limits.
    """
    for words in _ways():
        with suppress(OSError):
            if (await run(("true",), Bounds(wall_s=10.0), apart=words)).status == 0:
                return words
    raise FileNotFoundError("prlimit, choom or setpriv is missing; apt-get install util-linux")


@cache
def _ways() -> tuple[tuple[str, ...], ...]:
    """Return the ways from the strictest on."""
    last = ("choom", "-n", OOM_FIRST, "--", "setpriv", "--no-new-privs", "--")
    if os.geteuid() != 0:
        return (("unshare", "--user", "--net", "--ipc", "--uts", "--", *last), last)
    nobody = (*last[:-2], f"--reuid={NOBODY}", f"--regid={NOBODY}", "--clear-groups", *last[-2:])
    return (
        ("unshare", "--net", "--ipc", "--uts", "--", *nobody),
        ("unshare", "--net", "--", *nobody),  # what the units' RestrictNamespaces leaves
        nobody,
        last,
    )


def _limits(bounds: Bounds) -> tuple[str, ...]:
    """Return the words that a program begins within: set from outside, they might come too late."""
    most = {"as": bounds.memory_bytes, "fsize": bounds.file_bytes}
    given = [f"--{name}={value}" for name, value in most.items() if value]
    if bounds.cpu_s:  # at the first it is told which bound it was, at the second it is gone
        given.append(f"--cpu={bounds.cpu_s}:{bounds.cpu_s + 1}")
    return ("prlimit", "--core=0", *given, "--")


def _go_first(pid: int) -> None:
    """Let the kernel kill it before us; what runs apart sees to that itself."""
    with suppress(OSError):
        Path(f"/proc/{pid}/oom_score_adj").write_text(OOM_FIRST)


def _found(name: str, path: str | None) -> str:
    found = shutil.which(name, path=path)
    if found is None:
        raise FileNotFoundError(errno.ENOENT, os.strerror(errno.ENOENT), name)
    return found


async def _feed(process: Process, text: bytes) -> None:
    if process.stdin is None:
        return
    with suppress(BrokenPipeError, ConnectionResetError):  # it did not want to hear it all
        process.stdin.write(text)
        await process.stdin.drain()
    process.stdin.close()


def _kill(process: Process) -> None:
    """Kill it and whatever it started that did not make itself a session."""
    with suppress(ProcessLookupError, PermissionError):
        os.killpg(process.pid, signal.SIGKILL)


def _by_signal(status: int, bounds: Bounds) -> str:
    """Return what a signal says of the bound that was passed."""
    match -status:
        case signal.SIGXCPU:
            return f"it computed for more than {bounds.cpu_s} s"
        case signal.SIGXFSZ:
            return f"it wrote a file of more than {bounds.file_bytes} bytes"
        case signal.SIGKILL:
            return "it was killed, as the kernel does when memory runs out"
        case signal.SIGSEGV | signal.SIGABRT | signal.SIGBUS:
            return f"it broke (signal {-status})"
        case _:
            return ""
