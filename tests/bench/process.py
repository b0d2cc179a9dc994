"""What a process costs, as the kernel counts it, and a folder on a real disk."""

from __future__ import annotations

import tempfile
import time
from collections.abc import Generator
from contextlib import contextmanager
from pathlib import Path


def cpu_s(pid: int) -> float:
    """CPU seconds of a process, all its threads, to the nanosecond (clock_getcpuclockid(3))."""
    return time.clock_gettime((~pid << 3) | 2)


def pss_mb(pid: int) -> float:
    """Its proportional share of memory, in MB of 10^6 bytes (proc(5), smaps_rollup)."""
    for line in Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines():
        if line.startswith("Pss:"):
            return int(line.split()[1]) * 1024 / 1e6
    raise ValueError(f"no Pss for process {pid}")


@contextmanager
def disk_folder() -> Generator[Path]:
    """An empty folder where fsync costs what it costs; /tmp may be memory."""
    with tempfile.TemporaryDirectory(prefix="csnode-bench-", dir="/var/tmp") as folder:
        yield Path(folder)
