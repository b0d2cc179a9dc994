"""`make test`: all tests, some files at a time side by side. With arguments: pytest with those.

Most tests wait most of their time, for a server, a guest or a beacon; so there are more workers
than cores.
"""

from __future__ import annotations

import os
import subprocess
import sys

import pytest

WORKERS = max(5, os.cpu_count() or 1)
BESIDE = ("-n", str(WORKERS), "--dist", "loadfile", "--no-loadscope-reorder")


def main(args: list[str]) -> int:
    """The exit code: 0 if every test passed."""
    if args:
        return int(pytest.main(args))
    whole = (sys.executable, "-m", "pytest", "-p", "no:cacheprovider", "--durations=25", *BESIDE)
    kept = {k: v for k, v in os.environ.items() if k != "PYTHONDONTWRITEBYTECODE"}
    return subprocess.run(whole, env=kept, check=False).returncode  # hundreds of csnodes start


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
