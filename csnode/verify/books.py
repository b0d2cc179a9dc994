"""The data service's own books, and who could not be asked: how far this judgement reaches."""

from __future__ import annotations

from collections.abc import Iterator

from csnode.directory.directory import Served
from csnode.model.ids import object_name
from csnode.verify.evidence import Evidence
from csnode.verify.finding import Check, Finding

BOOKS = Check(
    "books", "P4", "feed",
    cause="the database was edited by hand or damaged, or csnode has a bug",
    remedy="stop csnode and restore a backup; readers that followed the feed must read anew",
)  # fmt: skip
SILENT = Check(
    "not-asked", "P8", "host",
    cause="its node is down, cut off, or its driver cannot reach what it drives",
    remedy="see `csnode status` and the node's log; what it has is not judged until it answers",
)  # fmt: skip
PARTS: dict[str, str] = {
    Served.COMPUTE: "machines",
    Served.NETWORKING: "networks",
    Served.STORAGE: "volumes",
}


def books(ev: Evidence) -> Iterator[Finding]:
    """Check what the data service says of itself: the feed has no gap, rows are as it left them."""
    for n, wrong in enumerate(ev.books):
        yield BOOKS.found(str(n), wrong)


def silent(ev: Evidence) -> Iterator[Finding]:
    """Find hosts and pools that did not say what they have."""
    for (contract, at), why in ev.silent.items():
        what = f"{ev.host_name(at)} does not say which {PARTS[contract]} it has: {why}"
        yield SILENT.found(object_name(contract, at), what, host=at)


CHECKS = (books, silent)
