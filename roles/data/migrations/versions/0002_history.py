"""Cancels, routers found by their host, and who made each commit in which trace."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0002"
down_revision = "0001"


def upgrade() -> None:
    """Add them; entries from before have neither trace nor name."""
    op.create_table(
        "cancel",
        sa.Column("id", sa.Text, primary_key=True),
        sa.Column("revision", sa.BigInteger, nullable=False),
        sa.Column("row", sa.Text, nullable=False),
        sqlite_with_rowid=False,
    )
    op.add_column("network", sa.Column("router", sa.Text))
    op.create_index("network_router", "network", ["router"])
    op.execute("UPDATE network SET router = json_extract(row, '$.router')")
    op.rename_table("feed", "feed_before")
    number = sa.BigInteger().with_variant(sa.Integer(), "sqlite")
    op.create_table(
        "feed",
        sa.Column("number", number, primary_key=True),
        sa.Column("kind", sa.Text, nullable=False),
        sa.Column("id", sa.Text, nullable=False),
        sa.Column("revision", sa.BigInteger, nullable=False),
        sa.Column("at", sa.Float, nullable=False),
        sa.Column("trace", sa.Text, nullable=False),
        sa.Column("by", sa.Text, nullable=False),
        sa.Column("row", sa.Text, nullable=False),  # last, for it may be long
    )
    op.execute(
        'INSERT INTO feed (number, kind, id, revision, at, trace, "by", row) '
        "SELECT number, kind, id, revision, at, '', '', row FROM feed_before"
    )
    op.drop_table("feed_before")


def downgrade() -> None:
    """Go back to a schema without them; who made each commit is forgotten."""
    op.drop_table("cancel")
    op.drop_index("network_router", "network")
    op.drop_column("network", "router")
    op.rename_table("feed", "feed_before")
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
    op.execute(
        "INSERT INTO feed (number, kind, id, revision, row, at) "
        "SELECT number, kind, id, revision, row, at FROM feed_before"
    )
    op.drop_table("feed_before")
