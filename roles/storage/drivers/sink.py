"""A download being written: bounded, hashed on the way, and given up at its first wrong bytes."""

from __future__ import annotations

import os
from pathlib import Path

from csnode.faults import Full, Refused
from roles.storage.drivers.checksum import Checksum, begin
from roles.storage.drivers.files import told_as_fault
from roles.storage.drivers.formats import HEAD, refusal


class Sink:
    """Takes an image's bytes in order. Its methods block, so call them beside the loop."""

    def __init__(self, to: Path, format: str, checksum: Checksum | None, size_max: int) -> None:
        self._format, self._size_max = format, size_max
        self._checksum = checksum
        self._digest = begin(checksum) if checksum else None
        self.size = 0
        self._head = bytearray()  # the first bytes, until there are enough to judge them
        self._judged = False
        with told_as_fault("for a new image"):
            self._file = to.open("xb", buffering=0)
            found = os.fstatvfs(self._file.fileno())
        self._room = found.f_bavail * found.f_frsize

    def add(self, chunk: bytes) -> None:
        """Add bytes. Raises Refused if they cannot be those of such an image, Full without room."""
        if not self._judged:  # however small the pieces are that it comes in
            self._head += chunk[: HEAD - len(self._head)]
            if len(self._head) == HEAD:
                self._judge()
        self.size += len(chunk)
        self._check_size(self.size)
        with told_as_fault("for the image"):
            left = memoryview(chunk)
            while left:
                left = left[self._file.write(left) :]
        if self._digest:
            self._digest.update(chunk)

    def expect(self, size: int) -> None:
        """Expect so many bytes. Raises Refused if too many for an image, Full without room."""
        self._check_size(size)
        if size > self._room:
            raise Full(
                f"the storage pool has no room for the image: it has {size} bytes, and"
                f" {self._room} are free"
            )

    def _check_size(self, size: int) -> None:
        if size > self._size_max:
            raise Refused(
                f"the image is larger than {self._size_max} bytes, the pool's max_image_bytes"
            )

    def _judge(self) -> None:
        if why := refusal(self._format, bytes(self._head)):
            raise Refused(why)
        self._judged = True

    def finish(self) -> None:
        """End it. Raises Refused if the bytes are no such image, or not those of the checksum."""
        if self.size == 0:
            raise Refused("the URL leads to an empty file")
        if not self._judged:
            self._judge()
        if self._checksum and self._digest:
            found = self._digest.hexdigest()
            if found != self._checksum.value:
                raise Refused(
                    f"wrong {self._checksum.algorithm} checksum: {self._checksum.value} was"
                    f" expected, {found} was found"
                )

    def close(self) -> None:
        """Write no more."""
        self._file.close()
