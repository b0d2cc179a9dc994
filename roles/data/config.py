"""[data]: where the rows are kept, and how much of their history."""

from __future__ import annotations

from typing import Annotated

from msgspec import Meta

from csnode.config import Section


class DataConfig(Section):
    """The data role's section."""

    url: str = ""  # "postgresql://user@host:5432/db"; empty: SQLite, one data process
    password_file: str = ""  # for `url`; else its own password, or that of ~/.pgpass
    path: str = ""  # of the database; empty: csnode.db in [node] state
    inline: bool = False  # no threads: fsync on the loop's own thread (virtual time, :memory:)
    feed_keep: Annotated[int, Meta(ge=1)] = 200_000  # entries a reader may be behind
    batch_max: Annotated[int, Meta(ge=1, le=10_000)] = 512  # commits that share one fsync
