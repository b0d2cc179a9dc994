"""References: whatever a row names is there, for every column that says so (P8).

The data service lets no commit break this; a database that an earlier version wrote, or that
somebody edited, may have it broken all the same.
"""

from __future__ import annotations

from collections.abc import Iterator

from csnode.model.entity import Entity, Ref, named
from csnode.model.ids import object_name
from csnode.verify.evidence import Evidence
from csnode.verify.finding import Check, Finding
from csnode.verify.rows import KINDS

DANGLING = Check(
    "dangling-reference", "P8", "row",
    cause="a version before wire 4 let the other row go, or somebody edited the database",
    remedy="restore the other row from a backup under its id, or delete the row that names it",
)  # fmt: skip
TOLD_APART = frozenset(
    {
        ("nic", "network"), ("nic", "vm"), ("vm", "host"), ("vm", "maybe_on"),
        ("volume", "pool"), ("volume", "template"), ("volume", "vm"),
    }
)  # fmt: skip
"""Kind and column of references that other checks look at, which know more of what to do."""


def told() -> Iterator[tuple[type[Entity], str, Ref]]:
    """Yield every reference that this check looks at."""
    judged = {kind.kind for kind in KINDS}
    for kind in KINDS:
        for column, ref in kind.refs().items():
            if ref.to in judged and (kind.kind, column) not in TOLD_APART:
                yield kind, column, ref


TOLD = tuple(told())


def references(ev: Evidence) -> Iterator[Finding]:
    """Find rows that name what is not there."""
    for kind, column, ref in TOLD:
        there = ev.rows.ids(ref.to)
        for row in ev.all(kind):
            for name in named(getattr(row, column)):
                if name not in there:
                    what = f"the {kind.kind} {getattr(row, 'name', row.id)} names the {ref.to} "
                    found = object_name(kind.kind, row.id)
                    yield DANGLING.found(found, f"{what}{name}: there is none")


CHECKS = (references,)
