"""What the disk of a machine of a virtual world keeps beside its database."""

from __future__ import annotations


class DiskNotes:
    """What a machine of a world knows of its cloud: it outlives processes and power, as a disk."""

    def __init__(self, machine: str) -> None:
        self._machine, self._known = machine, b""

    def read(self) -> bytes:
        """Return what was written last. Raises FileNotFoundError if nothing was."""
        if not self._known:
            raise FileNotFoundError(str(self))
        return self._known

    def write(self, known: bytes) -> None:
        """Keep this and nothing else."""
        self._known = known

    def __str__(self) -> str:
        return f"the file cloud of {self._machine}"
