"""`make test`: all tests, in three processes side by side.

One takes what needs the machine (guests, namespaces, real processes), one what waits for servers
most of its time (PostgreSQL, ZooKeeper, Redis), one the rest. With arguments: plain pytest with
those.
"""

from __future__ import annotations

import subprocess
import sys
import tempfile
from contextlib import ExitStack

import pytest

PYTEST = (sys.executable, "-m", "pytest")
BESIDE = ("server and not machine", "not server and not machine")


def main(args: list[str]) -> int:
    """The exit code: 0 if every test of all three passed."""
    if args:
        return int(pytest.main(args))
    with ExitStack() as open:
        outputs = [open.enter_context(tempfile.TemporaryFile("w+")) for _ in BESIDE]
        others = [
            subprocess.Popen(
                (*PYTEST, "-m", which, "-p", "no:cacheprovider"), stdout=said, stderr=said
            )
            for which, said in zip(BESIDE, outputs, strict=True)
        ]
        code = subprocess.run((*PYTEST, "-m", "machine"), check=False).returncode
        for other, said in zip(others, outputs, strict=True):
            code = max(code, other.wait())
            said.seek(0)
            sys.stdout.write(said.read())
    return code


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
