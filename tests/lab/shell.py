"""Commands of the machine, processes told by pid files, and waiting for facts."""

from __future__ import annotations

import os
import signal
import subprocess
import time
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import TypeVar

from csnode.testing.patience import Patience

T = TypeVar("T")
PATIENCE_S = 60.0


def shell(*command: str, check: bool = True, text: str | None = None) -> str:
    """Run it to the end; answers its output. AssertionError says what it complained of."""
    done = subprocess.run(
        command,
        input=text,
        stdin=subprocess.DEVNULL if text is None else None,
        capture_output=True,
        text=True,
        check=False,
        timeout=PATIENCE_S,
    )
    assert done.returncode == 0 or not check, f"{' '.join(command)}: {done.stderr}{done.stdout}"
    return done.stdout


def ip(*lines: str, namespace: str = "", check: bool = True) -> None:
    """Run the lines by one `ip -batch`."""
    where = ("-n", namespace) if namespace else ()
    force = () if check else ("-force",)
    shell("ip", *where, *force, "-batch", "-", text="\n".join(lines) + "\n", check=check)


def wait_for(fact: Callable[[], T], what: str, seconds: float = PATIENCE_S) -> T:
    """The fact, as soon as it is true."""
    patience = Patience(seconds)
    while not (found := fact()):
        assert not patience.over, f"not within {patience}: {what}"
        time.sleep(0.05)
    return found


def remember(file: Path, pid: int) -> None:
    """Write a pid file. It holds when the process began too: a pid may be another's later."""
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_text(f"{pid} {_began(pid)}\n")


def remembered(file: Path) -> int:
    """The pid in the file if that very process lives; 0 if not."""
    with suppress(OSError, ValueError):
        pid, began = file.read_text().split()
        if began and _began(int(pid)) == began:
            return int(pid)
    return 0


def kill(pid: int, number: int = signal.SIGKILL) -> None:
    """Send the signal; a process that is gone by now is fine."""
    with suppress(ProcessLookupError):
        if pid:
            os.kill(pid, number)


def children(pid: int) -> list[int]:
    with suppress(OSError):
        return [int(c) for c in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()]
    return []


def _began(pid: int) -> str:
    """When it did, in ticks; "" if there is none, or only its zombie."""
    with suppress(OSError):
        _, _, rest = Path(f"/proc/{pid}/stat").read_text().rpartition(") ")
        fields = rest.split()
        return "" if fields[0] in "ZX" else fields[19]
    return ""
