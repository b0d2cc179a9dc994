"""`python -m tests.system.rolling [PLAN ...] [--from COMMIT] [--postgres]`: nobody is to notice.

Restarts every process of a split cloud under load, in good order; then up from that commit to
this tree, process by process, and back down again. With --postgres two data processes share a
PostgreSQL. Ends with 1 if a call failed, a job was lost, or the judge found anything.
"""

from __future__ import annotations

import argparse
import asyncio
import sys
import tempfile
from contextlib import nullcontext
from pathlib import Path

import msgspec

from tests import servers
from tests.system.rolling.plans import PLANS, PREVIOUS, PREVIOUS_SHARED
from tests.system.rolling.run import Rolling
from tests.system.rolling.table import table


def main() -> int:
    """The exit code."""
    parser = argparse.ArgumentParser(prog="python -m tests.system.rolling", description=__doc__)
    parser.add_argument("plans", nargs="*", metavar="PLAN", help=f"{', '.join(PLANS)}; else all")
    parser.add_argument("--from", dest="commit", default="", help="the version before")
    parser.add_argument("--postgres", action="store_true", help="two data processes on it")
    parser.add_argument("--rate", type=float, default=50.0, help="requests a second")
    parser.add_argument("--rest", type=float, default=2.0, help="seconds between two processes")
    parser.add_argument("--seed", type=int, default=1)
    asked = parser.parse_args()
    if unknown := set(asked.plans) - PLANS.keys():
        parser.error(f"there is no plan {min(unknown)}")
    commit = asked.commit or (PREVIOUS_SHARED if asked.postgres else PREVIOUS)
    good = True
    for name in asked.plans or PLANS:
        folder = Path(tempfile.mkdtemp(prefix=f"csnode-rolling-{name}-", dir="/var/tmp"))
        begin, turns = PLANS[name](folder, commit, asked.postgres)
        print(f"{name}, in {folder}", file=sys.stderr, flush=True)
        with servers.postgres() if asked.postgres else nullcontext() as server:
            rolling = Rolling(
                folder, turns, begin=begin, rate=asked.rate, rest_s=asked.rest, seed=asked.seed,
                url=server.database() if server else "",
            )  # fmt: skip
            report = asyncio.run(rolling.roll())
        (folder / "report.json").write_bytes(msgspec.json.encode(_plain(report)))
        print(table(report), flush=True)
        good = good and report.good
    return 0 if good else 1


def _plain(report: object) -> object:
    return msgspec.to_builtins(report)


if __name__ == "__main__":
    sys.exit(main())
