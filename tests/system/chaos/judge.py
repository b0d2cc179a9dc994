"""The judge: the whole record, and what is left when all is quiet. It knows nothing of csnode."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator

from tests.system.chaos.hardware import Outside
from tests.system.chaos.history import NEVER, QUERY, Finding, orders
from tests.system.chaos.machines import addresses, states
from tests.system.chaos.record import Record, Request
from tests.system.chaos.registers import names
from tests.system.chaos.remains import Listed, remains


def judgement(record: Record, listed: Listed, outside: Outside) -> list[Finding]:
    """Everything that must not be; the record includes the last questions, asked when all was
    quiet: one about each accepted job, one about each machine."""
    return [
        *jobs(record),
        *names(record),
        *states(record),
        *addresses(record),
        *remains(record, listed, outside),
    ]


def jobs(record: Record) -> Iterator[Finding]:
    """Every accepted job is known, ends, and stays as it ended."""
    asked: defaultdict[str, list[Request]] = defaultdict(list)
    for query in record.of(QUERY):
        if query.kind != "unknown":
            asked[query.params["jobid"]].append(query)
    for order in orders(record).values():
        if order.accepted == NEVER:
            continue
        said = sorted(asked[order.job], key=lambda query: query.completed)
        about = f"{order.verb} of machine {order.machine}"
        lost = [q for q in said if q.kind == "refused" and q.invoked > order.accepted]
        if lost:
            what = f"{about} was accepted at {order.accepted:.3f}, unknown at {lost[0].invoked:.3f}"
            yield Finding(check="job-lost", object=order.job, what=what)
        elif order.ended == NEVER:
            yield Finding(check="job-never-ended", object=order.job, what=about)
        elif changed := _changed(said):
            yield Finding(check="job-changed", object=order.job, what=f"{about}: {changed}")


def _changed(said: list[Request]) -> str:
    """An end that was told stays true."""
    end: Request | None = None
    for query in said:
        status = query.answer.get("jobstatus")
        if end is None:
            end = query if status else None
        elif query.invoked > end.completed and status != end.answer["jobstatus"]:
            was = end.answer["jobstatus"]
            return f"status {was} at {end.completed:.3f} was {status} at {query.invoked:.3f}"
    return ""
