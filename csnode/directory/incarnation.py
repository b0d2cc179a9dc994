"""The number of a node's start: it grows with every start, also if the wall clock went back.

Others take a lower number for an old beacon sent again, and would not see the node at all. So
the last number is kept on disk; a node that lost its disk has only its clock.
"""

from __future__ import annotations

import os
from pathlib import Path
from urllib.parse import quote

from csnode import clock
from csnode.log import logger

log = logger("directory")


def next_incarnation(state: str, node: str) -> int:
    """Return the number of this start; milliseconds since 1970, or more."""
    file = Path(state) / "incarnation" / quote(node, safe="")
    number = int(clock.wall() * 1000)
    try:
        file.parent.mkdir(mode=0o711, parents=True, exist_ok=True)
        number = max(number, _last(file) + 1)
        new = file.with_name(f".{file.name}")
        new.write_text(str(number))
        os.replace(new, file)
    except OSError as error:
        log.warning("the number of this start cannot be kept", file=str(file), why=str(error))
    return number


def _last(file: Path) -> int:
    """Return the number kept there; 0 if none can be read."""
    try:
        return int(file.read_text())
    except (FileNotFoundError, ValueError):
        return 0
