"""`python -m tests.bench [NAME...]` measures everything, or what is named, and prints one table."""

from __future__ import annotations

import argparse
import asyncio
import importlib
import os
import sys
import time
import traceback
from collections.abc import Awaitable, Callable
from pathlib import Path

import uvloop

from tests.bench.figure import Figure, loop_ms, table

NAMES = (
    "deploys", "commits", "requests", "latency", "noisy", "idle", "verify", "discovery", "attack",
    "real_vm",
)  # fmt: skip


def main() -> int:
    """Ends with 1 if a measurement broke; a missed aim is shown, and is no error."""
    parser = argparse.ArgumentParser(prog="python -m tests.bench", description=__doc__)
    parser.add_argument("names", nargs="*", metavar="NAME", help=f"of {', '.join(NAMES)}")
    names = parser.parse_args().names or NAMES
    if unknown := set(names) - set(NAMES):
        parser.error(f"no measurement is called {', '.join(sorted(unknown))}")
    print(f"loop: a fixed piece of Python, {loop_ms():.1f} ms of CPU now; {_machine()}", flush=True)
    figures: list[Figure] = []
    broken = 0
    for name in names:
        began = time.perf_counter()
        try:
            found = uvloop.run(_measure(name))
        except Exception as error:  # noqa: BLE001 (one measurement must not cost the others)
            traceback.print_exc()
            found = [Figure(name=name, value=None, beside=f"broken: {error}"[:120])]
            broken += 1
        figures += found
        print(f"{name}: {time.perf_counter() - began:.0f} s", file=sys.stderr, flush=True)
    print(table(figures))
    return 1 if broken else 0


async def _measure(name: str) -> list[Figure]:
    measure: Callable[[], Awaitable[list[Figure]]]
    measure = importlib.import_module(f"tests.bench.{name}").measure
    async with asyncio.timeout(900):
        return await measure()


def _machine() -> str:
    load = " ".join(f"{n:.1f}" for n in os.getloadavg())
    python = sys.version.split()[0]
    kernel = Path("/proc/sys/kernel/osrelease").read_text().strip()
    return f"{os.cpu_count()} cores, load {load}, Python {python}, Linux {kernel}"


if __name__ == "__main__":
    sys.exit(main())
