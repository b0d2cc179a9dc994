"""`python -m tests.system.chaos --seconds 300 --seed N`: load, kill -9, and a judgement.

Prints a table by the role killed, and the whole report as JSON into the run's folder. Ends with 1
if the judge found anything, a job was lost, or a process ended by itself.
"""

from __future__ import annotations

import argparse
import asyncio
import random
import sys
import tempfile
from pathlib import Path

import msgspec

from tests.system.chaos.figures import table
from tests.system.chaos.run import Chaos


def main() -> int:
    """The exit code."""
    parser = argparse.ArgumentParser(prog="python -m tests.system.chaos", description=__doc__)
    parser.add_argument("--seconds", type=float, default=300, help="of load and kills")
    parser.add_argument("--seed", type=int, default=random.randrange(10_000))
    parser.add_argument("--every", type=float, default=0.0, help="seconds between kills, about")
    parser.add_argument("--only", default="", help="a role: kill no other")
    parser.add_argument("--folder", type=Path, help="for logs, records and report; else a new one")
    parser.add_argument("--json", action="store_true", help="print the report as JSON")
    asked = parser.parse_args()
    folder = asked.folder or Path(tempfile.mkdtemp(prefix="csnode-chaos-", dir="/var/tmp"))
    folder.mkdir(parents=True, exist_ok=True)
    if any(folder.iterdir()):
        parser.error(f"{folder} is not empty")
    print(f"seed {asked.seed}, in {folder}", file=sys.stderr, flush=True)
    chaos = Chaos(folder, asked.seconds, asked.seed, asked.every, asked.only)
    report = asyncio.run(chaos.run())
    encoded = msgspec.json.format(msgspec.json.encode(report))
    (folder / "report.json").write_bytes(encoded)
    print(encoded.decode() if asked.json else table(report))
    return 0 if report.good else 1


if __name__ == "__main__":
    sys.exit(main())
