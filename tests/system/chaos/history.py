"""The record as the judge reads it: orders with their ends, and sightings of machines."""

from __future__ import annotations

import math
from collections.abc import Iterator
from typing import Any

import msgspec

from csnode.types import Struct
from tests.system.chaos.record import Record, Request

NEVER = math.inf
QUERY, LIST = "queryAsyncJobResult", "listVirtualMachines"
VERBS = {
    "deployVirtualMachine": "deploy",
    "startVirtualMachine": "start",
    "stopVirtualMachine": "stop",
    "destroyVirtualMachine": "destroy",
}


class Finding(Struct):
    """Something that must not be."""

    check: str
    object: str
    what: str


class Order(msgspec.Struct):
    """One order, as its owner came to know it."""

    job: str
    verb: str
    machine: str
    name: str  # the display name a deploy gives
    invoked: float
    accepted: float = NEVER  # when it was known to be taken
    ended: float = NEVER  # when it was known to have ended
    well: bool = False
    refused: bool = False  # for good: it has no effect


class Sighting(Struct):
    """A machine in one answer; `row` is None if the answer says that there is none."""

    machine: str
    invoked: float
    completed: float
    row: dict[str, Any] | None
    listed: bool  # in a list of all, which hides what is being destroyed
    client: int


def orders(record: Record) -> dict[str, Order]:
    """By job, in the order in which they were first asked for."""
    found: dict[str, Order] = {}
    for request in sorted(record.of(*VERBS), key=lambda r: r.invoked):
        job = request.params["customjobid"]
        order = found.get(job)
        if order is None:
            machine = request.params.get("customid") or request.params["id"]
            order = found[job] = Order(
                job, VERBS[request.command], machine,
                request.params.get("displayname", ""), request.invoked,
            )  # fmt: skip
        if request.kind == "ok":
            order.accepted = min(order.accepted, request.completed)
        order.refused = request.kind == "refused"
    for query in record.of(QUERY):
        order = found.get(query.params["jobid"])
        if order is not None and query.kind == "ok":
            _learn(order, query)
    for order in found.values():
        order.refused = order.refused and order.accepted == NEVER
    return found


def _learn(order: Order, query: Request) -> None:
    order.accepted = min(order.accepted, query.completed)
    if query.answer.get("jobstatus") and query.completed < order.ended:
        order.ended = query.completed
        order.well = query.answer["jobstatus"] == 1


def sightings(record: Record) -> Iterator[Sighting]:
    """What every answered read says of each machine that it could have shown."""
    known = {order.machine: order.invoked for order in orders(record).values()}
    for request in record.of(LIST):
        if request.kind != "ok":
            if request.kind == "refused" and "id" in request.params and request.status == 431:
                yield _seen(request, request.params["id"], None)
            continue
        rows = {row["id"]: row for row in request.answer.get("virtualmachine", [])}
        asked = [request.params["id"]] if "id" in request.params else {*known, *rows}
        for machine in asked:
            yield _seen(request, machine, rows.get(machine))


def _seen(request: Request, machine: str, row: dict[str, Any] | None) -> Sighting:
    return Sighting(
        machine=machine, invoked=request.invoked, completed=request.completed, row=row,
        listed="id" not in request.params, client=request.client,
    )  # fmt: skip
