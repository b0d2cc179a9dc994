"""Whose database it is: an id that every copy of it has, and what its marks are proved with."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0005"
down_revision = "0004"


def upgrade() -> None:
    """Make the table; the data role fills it. It may be there from before the schema went back."""
    if not sa.inspect(op.get_bind()).has_table("cloud"):
        op.create_table(
            "cloud",
            sa.Column("name", sa.Text, primary_key=True),
            sa.Column("value", sa.Text, nullable=False),
            sqlite_with_rowid=False,
        )


def downgrade() -> None:
    """Keep it: machines know the cloud by its id, whatever version they run."""
