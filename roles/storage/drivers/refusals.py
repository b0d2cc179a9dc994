"""Images that are refused for good: they made a tool pass its bounds, or twice got it or us killed.

    refused/<template>          why, for people; for every machine that serves the pool
    refused/<template>.died     a process was killed while it examined the image, once so far
    tmp/<machine>/<template>.examined    while it is examined; if it is found at a start, the
                                process was killed at it, as by the kernel when memory ran out

One death says little: guests may have taken the memory, or the power failed. So the image is tried
once more. After a second, a job that is gone on with does not fetch the image again.
"""

from __future__ import annotations

from collections.abc import Generator
from contextlib import contextmanager
from pathlib import Path

from csnode.faults import Refused
from csnode.log import logger
from roles.storage.drivers.files import checked_id, sync_folder, told_as_fault
from roles.storage.drivers.qemu_img import Killed, Overrun

MARK = ".examined"
ONCE = ".died"
TWICE = (
    "csnode or qemu-img was killed twice while it was examined, as the kernel does when memory "
    "runs out; if you trust the image, register it again"
)
log = logger("storage.dir")


class Refusals:
    """Of one pool, as one machine sees them. Its methods block."""

    def __init__(self, pool: Path, tmp: Path) -> None:
        self._pool, self._tmp = pool, tmp

    def open(self) -> None:
        """Make the folder, and note what the process before this one was killed at."""
        (self._pool / "refused").mkdir(mode=0o711, parents=True, exist_ok=True)
        for mark in self._tmp.glob(f"*{MARK}"):
            self._note_death(mark.name.removesuffix(MARK), mark)

    def check(self, template: str) -> None:
        """Raise Refused if the image is refused for good."""
        try:
            raise _refused(self._file(template).read_text())
        except FileNotFoundError:
            return

    def forget(self, template: str) -> None:
        """Forget a template that is gone."""
        self._file(template).unlink(missing_ok=True)
        self._file(template, ONCE).unlink(missing_ok=True)

    @contextmanager
    def noting(self, template: str) -> Generator[None]:
        """Examine an image in this block: whatever bound it passes, it is refused from then on.

        Raises Refused at the second death; the first is told as Killed.
        """
        mark = self._tmp / f"{checked_id(template)}{MARK}"
        with told_as_fault("to examine an image"):
            mark.touch()
            sync_folder(self._tmp)
        try:
            yield
        except Overrun as over:
            self._note(template, over.message)
            raise
        except Killed as killed:
            with told_as_fault("to note a death"):
                is_second = self._note_death(template, mark)
            if is_second:
                raise _refused(TWICE) from killed
            raise
        else:
            self._file(template, ONCE).unlink(missing_ok=True)
        finally:
            mark.unlink(missing_ok=True)

    def _note_death(self, template: str, mark: Path) -> bool:
        """Count a death at an image; return whether it was the second, and the image is refused."""
        once = self._file(template, ONCE)
        is_second = once.exists()
        if is_second:
            self._note(template, TWICE)
        else:
            log.warning("killed while an image was examined", template=template)
            mark.rename(once)  # at once, or a kill right now would count as two
            sync_folder(once.parent)
        return is_second

    def _note(self, template: str, why: str) -> None:
        log.warning("an image is refused for good", template=template, why=why)
        self._file(template).write_text(why)

    def _file(self, template: str, suffix: str = "") -> Path:
        return self._pool / "refused" / f"{checked_id(template)}{suffix}"


def _refused(why: str) -> Refused:
    return Refused(f"the image is refused: {why}")
