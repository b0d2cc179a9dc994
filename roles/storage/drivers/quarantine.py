"""Where a pool keeps what nobody knows: quarantine/, which only an operator empties.

A file there is called <id>.<date>.<secret>.qcow2. quarantine/images/ has the images that such
volumes stand on, as further names of the same bytes: they outlive the template's own.
"""

from __future__ import annotations

import os
from contextlib import suppress
from pathlib import Path

from csnode.clock import stamp, wall
from csnode.uuids import new_secret
from roles.storage.drivers.files import sync_folder


def prepare(pool: Path) -> None:
    """Make the folder; nobody but the owner may look inside: guests' disks are there."""
    (pool / "quarantine" / "images").mkdir(mode=0o700, parents=True, exist_ok=True)


def take_in(pool: Path, file: Path, image: Path | None) -> str:
    """Move the file here, durably, under a name of its own; `image` is what it stands on."""
    here = pool / "quarantine"
    if image is not None:
        with suppress(FileExistsError, FileNotFoundError):
            os.link(image, here / "images" / image.name)
            sync_folder(here / "images")
    date = stamp(wall()).replace(":", "").replace("+0000", "Z")
    name = f"{file.stem}.{date}.{new_secret(6)}.qcow2"
    os.rename(file, here / name)
    sync_folder(here)
    sync_folder(file.parent)
    return name


def names(pool: Path) -> list[str]:
    """List the files taken in and not removed since."""
    return sorted(file.name for file in (pool / "quarantine").iterdir() if file.is_file())
