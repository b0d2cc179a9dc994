"""The lab's power switches: outside of every host, as a BMC is.

A controller's fencer runs the agent, which asks by a file and waits for the answer: `off` is
answered once the host has no process left.
"""

from __future__ import annotations

import threading
from collections.abc import Callable
from pathlib import Path

AGENT = """\
#!/bin/sh
# What [fabric] fence = "command" runs: off|on|status NAME ADDRESS.
folder=$(dirname "$0")
[ "$1" = off ] || exit 1
: >"$folder/$2.asked"
for _ in $(seq 150); do
    [ ! -e "$folder/$2.off" ] || { echo "the lab cut its power"; exit 0; }
    sleep 0.1
done
echo "the power switch does not answer"
exit 1
"""
LOOK_S = 0.05


class Fencing:
    """Watches for what the agents ask. While it is silent, nothing is proven."""

    def __init__(self, folder: Path, power_off: Callable[[str], None]) -> None:
        self._folder, self._power_off = folder, power_off
        self._over = threading.Event()
        self._thread: threading.Thread | None = None
        self.silent = False
        self.fenced: list[str] = []

    def install(self) -> None:
        """The agent, where controllers find it."""
        self._folder.mkdir(parents=True, exist_ok=True)
        agent = self._folder / "agent"
        agent.write_text(AGENT)
        agent.chmod(0o755)

    def start(self) -> None:
        self._over.clear()
        self._thread = threading.Thread(target=self._watch, daemon=True)
        self._thread.start()

    def stop(self) -> None:
        self._over.set()
        if self._thread is not None:
            self._thread.join()
            self._thread = None

    def forget(self, host: str) -> None:
        """The host has power again: that it was off proves nothing any more."""
        for kind in ("asked", "off"):
            (self._folder / f"{host}.{kind}").unlink(missing_ok=True)

    def _watch(self) -> None:
        while not self._over.wait(LOOK_S):
            for asked in () if self.silent else sorted(self._folder.glob("*.asked")):
                asked.unlink(missing_ok=True)
                self._power_off(asked.stem)
                self.fenced.append(asked.stem)
                (self._folder / f"{asked.stem}.off").touch()
