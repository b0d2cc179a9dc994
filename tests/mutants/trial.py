"""One mistake in one file, for one target's tests to notice."""

from __future__ import annotations

import difflib
from typing import NamedTuple

from tests.mutants.operators import Mutant
from tests.mutants.targets import Target


class Trial(NamedTuple):
    """A mistake, where it is made, and who should notice."""

    target: Target
    path: str
    source: bytes
    mutant: Mutant

    def __str__(self) -> str:
        return f"{self.target.area:10} {self.path}:{self.mutant.line} {self.mutant.operator}"

    def diff(self) -> str:
        """The mistake as a reviewer would see it."""
        before, after = (
            t.decode().splitlines() for t in (self.source, self.mutant.of(self.source))
        )
        return "\n".join(difflib.unified_diff(before, after, lineterm="", n=2)) + "\n"

    def key(self) -> tuple[str, str, str]:
        """What says that it is the same mistake, though lines above it came and went."""
        lines = [line for line in self.diff().splitlines() if line[:3] not in ("---", "+++")]
        old, new = ([li[1:].strip() for li in lines if li[0] == sign] for sign in "-+")
        return self.path, " ".join(old), " ".join(new)
