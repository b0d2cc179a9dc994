"""The first user's password, if no operator chose one: made once, kept for the operator to read."""

from __future__ import annotations

import os
from pathlib import Path

from csnode.faults import Refused
from csnode.log import logger
from csnode.uuids import new_secret

FILE = "admin.password"
log = logger("fabric")


def first_password(state: str) -> str:
    """Read the password from its file, or make both. Only the file's owner and root read it.

    Raises Refused if the file cannot be kept.
    """
    file = Path(state) / FILE
    try:
        file.parent.mkdir(mode=0o711, parents=True, exist_ok=True)
        try:
            fd = os.open(file, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
        except FileExistsError:
            return file.read_text().strip()
        with open(fd, "w") as out:
            out.write(f"{new_secret(12)}\n")
            out.flush()
            os.fsync(fd)
        log.info("the first user is admin; its password was made", file=str(file))
        return file.read_text().strip()
    except OSError as error:
        raise Refused(
            f"cannot keep the first user's password at {file} ({error.strerror});"
            " set [fabric] admin_password"
        ) from error
