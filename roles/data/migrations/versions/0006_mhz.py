"""Tallies of hosts count MHz: those of before are counted from the machines there are.

Each new row has its entry in the feed, as if it had been committed, so views that are open read it
too. The date is the last entry's: the cloud's time is nothing that a migration may move on.
"""

from __future__ import annotations

import json
from collections import Counter
from typing import Any

import sqlalchemy as sa
from alembic import op

revision = "0006"
down_revision = "0005"

MHZ = 1000  # of a machine whose row leaves it out
LAST = "SELECT max(number) FROM (SELECT number FROM feed UNION ALL SELECT number FROM head) AS n"
TALLIES = 'SELECT id, revision, "row" FROM tally WHERE id IN (SELECT id FROM host) ORDER BY id'
UPDATE = 'UPDATE tally SET revision = :revision, "row" = :row WHERE id = :id'
ENTER = (
    'INSERT INTO feed (number, kind, id, revision, at, trace, "by", "row") '
    "VALUES (:number, 'tally', :id, :revision, :at, '', 'migration 0006', :row)"
)
HEAD = "UPDATE head SET number = :number WHERE kind IN ('tally', '')"


def upgrade() -> None:
    """Count, and write what differs."""
    connection = op.get_bind()

    def ask(text: str, **values: Any) -> Any:
        return connection.execute(sa.text(text), values)

    right = _mhz(row for (row,) in ask('SELECT "row" FROM vm'))
    number = first = ask(LAST).scalar() or 0
    at = ask("SELECT at FROM feed ORDER BY number DESC LIMIT 1").scalar() or 0.0
    for id, before, text in ask(TALLIES).all():
        row = json.loads(text)
        used = row.setdefault("used", {})
        if used.get("mhz", 0) == right[id]:
            continue
        used["mhz"] = right[id]
        row["revision"] = before + 1
        number += 1
        new = {"id": id, "revision": before + 1}
        new["row"] = json.dumps(row, separators=(",", ":"), ensure_ascii=False)
        ask(UPDATE, **new)
        ask(ENTER, **new, number=number, at=at)
    if number > first:
        ask(HEAD, number=number)


def downgrade() -> None:
    """Keep them: those who do not know of MHz pass them over."""


def _mhz(rows: Any) -> Counter[str]:
    """Count what machines take of each host; one that moves takes of two."""
    sums: Counter[str] = Counter()
    for text in rows:
        vm = json.loads(text)
        mhz = vm["cpus"] * vm.get("cpu_mhz", MHZ)
        for host in filter(None, (vm.get("host"), vm.get("moving_to"))):
            sums[host] += mhz
    return sums
