"""`make test`: all tests, in two processes side by side.

One takes what needs the machine (guests, namespaces, real processes), one after the other; the
other takes the rest. With arguments: plain pytest with those.
"""

from __future__ import annotations

import subprocess
import sys
import tempfile

import pytest

PYTEST = (sys.executable, "-m", "pytest")


def main(args: list[str]) -> int:
    """The exit code: 0 if every test of both passed."""
    if args:
        return int(pytest.main(args))
    with tempfile.TemporaryFile("w+") as said:
        others = subprocess.Popen(
            (*PYTEST, "-m", "not machine", "-p", "no:cacheprovider"), stdout=said, stderr=said
        )
        machine = subprocess.run((*PYTEST, "-m", "machine"), check=False)
        code = others.wait()
        said.seek(0)
        sys.stdout.write(said.read())
    return max(machine.returncode, code)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
