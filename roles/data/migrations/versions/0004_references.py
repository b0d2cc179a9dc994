"""Machines and volumes are found by their template, which stays while they refer to it."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0004"
down_revision = "0003"

KINDS = ("vm", "volume")
ADDED = {
    "sqlite": "json_extract(\"row\", '$.template')",
    "postgresql": "CAST(\"row\" AS jsonb) ->> 'template'",
}


def upgrade() -> None:
    """Add the column, and fill it from the rows."""
    value = ADDED[op.get_bind().dialect.name]
    for kind in KINDS:
        op.add_column(kind, sa.Column("template", sa.Text))
        op.execute(f"UPDATE {kind} SET template = {value}")
        op.create_index(f"{kind}_template", kind, ["template"])


def downgrade() -> None:
    """Go back to a schema without it."""
    for kind in KINDS:
        op.drop_index(f"{kind}_template", kind)
        op.drop_column(kind, "template")
