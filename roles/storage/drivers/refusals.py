"""Images that are refused for good: they made a tool pass its bounds, or ended us.

    refused/<template>          why, for people; for every machine that serves the pool
    tmp/<machine>/<template>.examined    while it is examined; if it is found at a start, the
                                process was killed at it, as by the kernel when memory ran out

So a job that is gone on with after such a death does not fetch the image again.
"""

from __future__ import annotations

from collections.abc import Generator
from contextlib import contextmanager
from pathlib import Path

from csnode.faults import Refused
from csnode.log import logger
from roles.storage.drivers.files import checked_id, sync_folder, told_as_fault
from roles.storage.drivers.qemu_img import Overrun

MARK = ".examined"
DIED = (
    "csnode was killed while it examined the image, as the kernel does when memory runs out; if "
    "you trust the image, register it again"
)
log = logger("storage.dir")


class Refusals:
    """Of one pool, as one machine sees them. Its methods block."""

    def __init__(self, pool: Path, tmp: Path) -> None:
        self._pool, self._tmp = pool, tmp

    def open(self) -> None:
        """Make the folder, and refuse what the process before this one was killed at."""
        (self._pool / "refused").mkdir(mode=0o711, parents=True, exist_ok=True)
        for mark in self._tmp.glob(f"*{MARK}"):
            self._note(mark.name.removesuffix(MARK), DIED)

    def check(self, template: str) -> None:
        """Raise Refused if the image is refused for good."""
        try:
            raise Refused(f"the image is refused: {self._file(template).read_text()}")
        except FileNotFoundError:
            return

    def forget(self, template: str) -> None:
        """The template is gone."""
        self._file(template).unlink(missing_ok=True)

    @contextmanager
    def noting(self, template: str) -> Generator[None]:
        """Examine an image in this block: whatever bound it passes, it is refused from then on."""
        mark = self._tmp / f"{checked_id(template)}{MARK}"
        with told_as_fault("to examine an image"):
            mark.touch()
            sync_folder(self._tmp)
        try:
            yield
        except Overrun as over:
            self._note(template, over.message)
            raise
        finally:
            mark.unlink(missing_ok=True)

    def _note(self, template: str, why: str) -> None:
        log.warning("an image is refused for good", template=template, why=why)
        self._file(template).write_text(why)

    def _file(self, template: str) -> Path:
        return self._pool / "refused" / checked_id(template)
