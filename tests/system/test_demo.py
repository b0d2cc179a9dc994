"""`csnode demo`: a real machine through every component, and nothing left behind."""

from __future__ import annotations

import json
import re
import signal
import subprocess
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.system.processes import CSNODE

pytestmark = pytest.mark.real
WITHIN_S = 300.0


def started(*options: str) -> subprocess.Popen[str]:
    return subprocess.Popen(
        (str(CSNODE), "demo", "--port", "0", *options),
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        bufsize=1,
    )


def said(demo: subprocess.Popen[str]) -> Iterator[str]:
    """Its lines as they come; a demo that stalls is a failure, not a test that hangs."""
    assert demo.stdout is not None
    stalled = threading.Timer(WITHIN_S, demo.kill)
    stalled.start()
    try:
        for line in demo.stdout:  # noqa: UP028 (yield from would close it with the generator)
            yield line
    finally:
        stalled.cancel()


def left(folder: str) -> list[str]:
    """What names the demo's folder or begins with its letters, and is still there."""
    links = json.loads(subprocess.check_output(("ip", "-j", "link")))
    spaces = json.loads(subprocess.check_output(("ip", "-j", "netns", "list")) or b"[]")
    names = [link["ifname"] for link in links] + [space["name"] for space in spaces]
    found = [name for name in names if re.match(r"d[0-9a-f]{3}(pub0$|[bgpx][0-9a-f]{8}$|r-)", name)]
    processes = subprocess.check_output(("ps", "-eo", "args"), text=True).splitlines()
    found += [line for line in processes if folder in line]
    return found + ([folder] if Path(folder).exists() else [])


def folder_of(line: str) -> str:
    return line.rpartition(" ")[2].strip()


def test_one_machine_is_deployed_and_answers() -> None:
    with started("--once") as demo:
        out, err = demo.communicate(timeout=WITHIN_S)
    assert demo.returncode == 0, f"{out}\n{err}"
    for step in ("host", "disks", "routers", "leases", "power"):
        assert re.search(rf"  {step} +\d+\.\d ms", out), out
    assert re.search(r"\| READY hostname=demo ip=10\.1\.1\.\d+ meta=http://10\.1\.1\.1 ", out), out
    assert "3 received, 0% packet loss" in out
    assert "destroyVirtualMachine  done" in out
    assert left(folder_of(out.splitlines()[0])) == []


@pytest.mark.parametrize("moment", ["libvirtd", "deployVirtualMachine", "console", "Ctrl-C ends"])
def test_an_interrupt_at_any_moment_leaves_nothing(moment: str) -> None:
    with started() as demo:
        lines: list[str] = []
        for line in said(demo):
            lines.append(line)
            if moment in line:
                demo.send_signal(signal.SIGINT)
                break
        rest, err = demo.communicate(timeout=WITHIN_S)
    assert moment in lines[-1], err
    assert demo.returncode == (0 if moment == "Ctrl-C ends" else 130), f"{lines}{rest}{err}"
    assert "Traceback" not in err
    assert left(folder_of(lines[0])) == []
