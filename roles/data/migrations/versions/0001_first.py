"""The first tables: a kind of row each, and their history.

Written out, not read off the entities: what a migration does may never change afterwards.
"""

from __future__ import annotations

from collections.abc import Sequence

import sqlalchemy as sa
from alembic import op

revision = "0001"
down_revision = None

KEYS: dict[str, Sequence[str]] = {
    "account": ("name", "domain"),
    "cluster": ("zone",),
    "disk_offering": (),
    "domain": ("path", "parent"),
    "event": ("account",),
    "host": ("name",),
    "job": ("state", "object_id", "account"),
    "lease": (),
    "lock": ("job",),
    "network": ("account",),
    "network_offering": (),
    "nic": ("vm", "network", "named", "carded"),
    "offering": (),
    "os_type": (),
    "pod": ("zone",),
    "pool": ("host",),
    "range": (),
    "session": ("user",),
    "taken": ("range", "owner"),
    "tally": (),
    "template": ("account",),
    "user": ("name", "account", "api_key"),
    "vm": ("account", "host"),
    "volume": ("account", "vm", "pool"),
    "zone": ("name",),
}
UNIQUE = {
    ("domain", "path"),
    ("host", "name"),
    ("nic", "named"),
    ("nic", "carded"),
    ("zone", "name"),
}


def upgrade() -> None:
    """Make them."""
    for kind, keys in KEYS.items():
        op.create_table(
            kind,
            sa.Column("id", sa.Text, primary_key=True),
            sa.Column("revision", sa.BigInteger, nullable=False),
            sa.Column("row", sa.Text, nullable=False),
            *(sa.Column(key, sa.Text) for key in keys),
            sqlite_with_rowid=False,
        )
        for key in keys:
            op.create_index(f"{kind}_{key}", kind, [key], unique=(kind, key) in UNIQUE)
    number = sa.BigInteger().with_variant(sa.Integer(), "sqlite")
    op.create_table(
        "feed",
        sa.Column("number", number, primary_key=True),
        sa.Column("kind", sa.Text, nullable=False),
        sa.Column("id", sa.Text, nullable=False),
        sa.Column("revision", sa.BigInteger, nullable=False),
        sa.Column("row", sa.Text, nullable=False),
        sa.Column("at", sa.Float, nullable=False),
    )
    op.create_table(
        "head",
        sa.Column("kind", sa.Text, primary_key=True),
        sa.Column("number", sa.BigInteger, nullable=False),
        sqlite_with_rowid=False,
    )
    op.create_table(
        "token",
        sa.Column("token", sa.Text, primary_key=True),
        sa.Column("answer", sa.Text, nullable=False),
        sa.Column("at", sa.Float, nullable=False),
        sqlite_with_rowid=False,
    )
    op.create_index("token_at", "token", ["at"])


def downgrade() -> None:
    """Leave no tables."""
    for table in (*KEYS, "feed", "head", "token"):
        op.drop_table(table)
