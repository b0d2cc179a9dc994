"""Two versions at once: an older data service is not written what it does not know."""

from __future__ import annotations

from pathlib import Path

import pytest

from csnode.directory.directory import WIRE
from csnode.faults import Conflict
from csnode.model.host import Host
from csnode.model.since import SINCE, understood
from csnode.model.vm import Vm
from csnode.plugins import entity_kinds

GOLDEN = Path(__file__).parent / "golden" / "columns-1.txt"
OURS = {t for t in entity_kinds().values() if t.__module__.startswith("csnode.")}


def first() -> dict[str, set[str]]:
    """The columns of wire 1, by kind."""
    lines = (line.partition(": ") for line in GOLDEN.read_text().splitlines())
    return {kind: set(columns.split()) for kind, _, columns in lines}


def test_every_column_has_the_wire_number_it_came_with() -> None:
    told = {
        kind.kind: set(kind.__struct_fields__) - before
        for kind in OURS
        if (before := first().get(kind.kind)) is not None
    }
    known = {kind: set[str]() for kind in told}
    for kinds in SINCE.values():
        for kind, columns in kinds.items():
            known.setdefault(kind, set()).update(columns)
    assert {k: v for k, v in told.items() if v} == {k: known[k] for k in told if known[k]}


def test_a_kind_has_every_column_that_came_later() -> None:
    kinds = {kind.kind: set(kind.__struct_fields__) for kind in OURS}
    for columns_of in SINCE.values():
        for kind, columns in columns_of.items():
            assert columns <= kinds[kind]


def test_no_column_is_newer_than_the_wire() -> None:
    assert max(SINCE) == WIRE


def test_an_older_data_service_is_told_what_it_knows() -> None:
    columns = {"want": "running", "moving_to": None}
    assert understood(Vm, columns, lambda: 1) == {"want": "running"}
    assert understood(Vm, columns, lambda: 2) == columns


def test_what_an_older_data_service_cannot_keep_is_refused() -> None:
    with pytest.raises(Conflict, match=r"vm\.moving_to"):
        understood(Vm, {"moving_to": "host"}, lambda: 1)
    assert understood(Vm, {"moving_to": "host"}, lambda: 2) == {"moving_to": "host"}


def test_a_comment_may_go_unsaid() -> None:
    assert understood(Host, {"seen": "Up", "why": "it speaks"}, lambda: 1) == {"seen": "Up"}


def test_nobody_is_asked_about_columns_that_all_know() -> None:
    def nobody() -> int:
        raise AssertionError("the directory was asked")

    assert understood(Vm, {"want": "running"}, nobody) == {"want": "running"}
