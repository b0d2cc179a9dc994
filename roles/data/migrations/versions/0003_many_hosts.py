"""Machines of the cluster, invitations, alerts, physical networks, hosts taken out."""

from __future__ import annotations

from collections.abc import Sequence

import sqlalchemy as sa
from alembic import op

revision = "0003"
down_revision = "0002"

KEYS: dict[str, Sequence[str]] = {
    "seat": ("key",),
    "invite": (),
    "alert": ("zone",),
    "physical_network": ("zone",),
    "traffic_type": ("physical_network",),
    "retired": (),
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
            op.create_index(f"{kind}_{key}", kind, [key], unique=kind == "seat")


def downgrade() -> None:
    """Go back to a schema without them."""
    for kind in KEYS:
        op.drop_table(kind)
