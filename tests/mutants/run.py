"""Run the tests of one target against a copy of the tree that has one mistake in it.

Each run is a fork of a process that has imported what is slow to import and none of csnode: a
start costs a tenth of a second instead of two.
"""

from __future__ import annotations

import compileall
import contextlib
import importlib
import os
import shutil
import signal
import sys
import time
import traceback
from collections.abc import Generator
from pathlib import Path
from typing import NamedTuple

ROOT = Path(__file__).parents[2]
COPIED = ("csnode", "roles", "tests", "config", "pyproject.toml", "csnode.toml")
SLOW = ("pytest", "msgspec", "zmq", "aiohttp", "sqlalchemy", "alembic", "asyncpg")
PASSED, FAILED, TIMED_OUT = "survived", "killed", "timeout"
WRONG_TREE = 99  # the exit code of a run that did not see the copy


class Outcome(NamedTuple):
    """What the tests made of a mistake."""

    what: str  # survived, killed or timeout
    seconds: float
    said: str  # the last of their output


class Copy:
    """A copy of the tree that mistakes are put into."""

    def __init__(self, at: Path) -> None:
        self.at = at
        for name in COPIED:
            source, target = ROOT / name, at / name
            if source.is_dir():
                shutil.copytree(source, target, ignore=shutil.ignore_patterns("__pycache__"))
            else:
                shutil.copy(source, target)
        if (ROOT / ".cache").exists():
            (at / ".cache").symlink_to(ROOT / ".cache")
        compileall.compile_dir(str(at), quiet=2)

    @contextlib.contextmanager
    def with_text(self, path: str, text: bytes) -> Generator[None]:
        """The copy while one of its files has another text."""
        file = self.at / path
        kept = file.read_bytes()
        for compiled in file.parent.glob(f"__pycache__/{file.stem}.*"):
            compiled.unlink()  # its time stamp may be that of the mistake
        file.write_bytes(text)
        try:
            yield
        finally:
            file.write_bytes(kept)

    def tried(self, tests: tuple[str, ...], most_s: float) -> Outcome:
        """Run the tests; a file that is not there is left out."""
        there = [test for test in tests if (self.at / test.partition("::")[0]).exists()]
        log, began = self.at / "out.txt", time.monotonic()
        child = os.fork()
        if child == 0:
            _run(self.at, there, log)
        status = _waited(child, began + most_s)
        seconds, said = time.monotonic() - began, log.read_text(errors="replace")[-3000:]
        if status is None:
            return Outcome(what=TIMED_OUT, seconds=seconds, said=said)
        code = os.waitstatus_to_exitcode(status)
        if code == WRONG_TREE:
            raise RuntimeError(f"the tests ran against another tree than {self.at}: {said}")
        return Outcome(what=FAILED if code else PASSED, seconds=seconds, said=said)


def preload() -> None:
    """Import what is slow, before the first fork."""
    for name in SLOW:
        with contextlib.suppress(ImportError):
            importlib.import_module(name)


def _waited(child: int, until: float) -> int | None:
    """The status of a child that ended in time; None for one that was ended, with its children."""
    while time.monotonic() < until:
        pid, status = os.waitpid(child, os.WNOHANG)
        if pid:
            return status
        time.sleep(0.05)
    with contextlib.suppress(ProcessLookupError):
        os.killpg(child, signal.SIGKILL)
    os.waitpid(child, 0)
    return None


def _run(at: Path, tests: list[str], log: Path) -> None:
    """Never returns: the child's whole life."""
    code = 1
    try:
        os.setsid()
        with log.open("w") as file:
            os.dup2(file.fileno(), 1)
            os.dup2(file.fileno(), 2)
        os.chdir(at)
        for name in [n for n in sys.modules if n.partition(".")[0] in ("csnode", "roles", "tests")]:
            del sys.modules[name]
        sys.path[:] = [str(at), *(part for part in sys.path if part not in ("", str(ROOT)))]
        sys.dont_write_bytecode = True
        import csnode

        if not str(csnode.__file__).startswith(str(at)):
            os._exit(WRONG_TREE)
        import pytest

        code = int(pytest.main(["-x", "-q", "-p", "no:cacheprovider", *tests]))
    except BaseException:  # noqa: BLE001 (it is told, and the child ends)
        traceback.print_exc()
    finally:
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(code)
