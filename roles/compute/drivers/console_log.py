"""The files that guests' serial consoles are written to: one a machine, kept small."""

from __future__ import annotations

from pathlib import Path

from csnode.faults import NotFound
from csnode.types import VmId

TAIL_BYTES = 64 * 1024
_FULL_BYTES = 4 * 1024 * 1024


class ConsoleLogs:
    """The console logs of one host, in one folder."""

    def __init__(self, folder: str) -> None:
        self._folder = Path(folder).absolute()

    def prepare(self) -> None:
        """Make the folder: guests may print secrets, so nobody else may look inside."""
        self._folder.mkdir(parents=True, exist_ok=True, mode=0o711)

    def path(self, vm: VmId) -> Path:
        """Return where the machine's console is written."""
        return self._folder / f"{vm.replace('/', '_')}.console"

    def tail(self, vm: VmId) -> bytes:
        """Return the last 64 KiB. Raises NotFound if the machine never ran here, or is removed."""
        try:
            with self.path(vm).open("rb") as log:
                size = log.seek(0, 2)
                log.seek(max(0, size - TAIL_BYTES))
                return log.read(TAIL_BYTES)
        except FileNotFoundError:
            raise NotFound(f"no console of machine {vm} here") from None

    def remove(self, vm: VmId) -> None:
        """Remove the machine's log; an absent one is fine."""
        self.path(vm).unlink(missing_ok=True)

    def trim(self) -> None:
        """Trim the logs: a guest may fill its console for ever, but not the host's disk.

        The file is cut in place: its writer appends, so it goes on at the new end.
        """
        for log in self._folder.glob("*.console"):
            if log.stat().st_size > _FULL_BYTES:
                with log.open("r+b") as file:
                    file.seek(-TAIL_BYTES, 2)
                    tail = file.read(TAIL_BYTES)
                    file.seek(0)
                    file.write(tail)
                    file.truncate()
