"""What the worlds' clients ask follows from the commands' declarations, and is counted."""

from __future__ import annotations

import random
from collections.abc import Iterator
from typing import Annotated, Any

import pytest

from csnode.api.about import About, Rank, fields_of
from csnode.api.call import Caller
from csnode.api.command import Answers, ApiCommand, Declaration
from csnode.api.parse import table
from csnode.api.refers import named_kind
from csnode.model.network import Network
from csnode.testing import values
from csnode.testing.draw import acting, drawn
from csnode.testing.ledger import Ledger, reason
from csnode.testing.scene import Scene
from csnode.types import AccountId, DomainId, NetworkId, NetworkOfferingId, UserId, ZoneId


class Paint(ApiCommand):
    """A command of some plug-in, of which no table here knows."""

    network_id: Annotated[NetworkId, About("what to paint")]
    twice: Annotated[bool, About("or once")]


class Rows:
    """What a view would answer."""

    def __init__(self, *rows: Any) -> None:
        self._rows = rows

    def __iter__(self) -> Iterator[str]:
        return iter({row.kind for row in self._rows})

    def all(self, kind: Any) -> list[Any]:
        return [row for row in self._rows if isinstance(row, kind)]


def declared(request: type[ApiCommand]) -> Declaration:
    return Declaration(name="paint", request=request, answers=Answers.JOB, shows=None,
                       allows=Rank.USER, since="", event="PAINT", java="", open=False,
                       table=table("paint", request))  # fmt: skip


def scene(*rows: Any) -> Scene:
    admin = Caller(user=UserId("u"), account=AccountId("a"), domain=DomainId("d"),
                   rank=Rank.ROOT_ADMIN)  # fmt: skip
    view: Any = Rows(*rows)
    return Scene(random.Random(1), view, admin, {})


def network(id: str) -> Network:
    whose, where = AccountId("a"), ZoneId("z")
    return Network(
        id=id, name=id, account=whose, domain=DomainId("d"), zone=where,
        offering=NetworkOfferingId("o"), cidr="10.1.1.0/24", gateway="10.1.1.1",
    )  # fmt: skip


def test_a_command_that_no_table_knows_is_drawn_with_what_the_world_has() -> None:
    draw = drawn(scene(network("n1")), declared(Paint))
    assert draw is not None
    assert draw.params["networkid"] == "n1"
    assert draw.params["twice"] in ("true", "false")
    assert draw.target == ("network", "n1")


def test_a_command_about_a_row_is_about_that_row() -> None:
    draw = drawn(scene(network("n1"), network("n2")), declared(Paint), {"network": "n2"})
    assert draw is not None
    assert draw.params["networkid"] == "n2"


def test_a_command_is_not_drawn_where_the_world_has_nothing_for_it() -> None:
    assert drawn(scene(), declared(Paint)) is None


@pytest.mark.parametrize("name", sorted(acting()))
def test_every_parameter_that_must_be_given_can_be_drawn(name: str) -> None:
    """Else say in csnode/testing/values.py what it may be."""
    for field in fields_of(acting()[name].request):
        keys = {f"{name}.{field.name.lower()}", field.name.lower()}
        known = named_kind(field) is not None or keys & values.MADE.keys()
        assert not field.required or known or field.word == "boolean", field.name


def test_tables_name_only_commands_and_parameters_that_exist() -> None:
    commands = acting()
    named = {*values.WEIGHTS, *values.SCRIPTED, *values.BECOMES,
             *values.AFTERWARDS, *values.AFTERWARDS.values()}  # fmt: skip
    assert named <= commands.keys()
    keys = {*values.ALWAYS, *values.OFTEN, *values.FITS, *values.MADE, *values.NEVER}
    names = {f.name.lower() for d in commands.values() for f in fields_of(d.request)}
    for key in keys:
        command, dot, parameter = key.rpartition(".")
        if dot:
            assert parameter in {f.name.lower() for f in fields_of(commands[command].request)}, key
        else:
            assert key in names, key


def test_a_ledger_counts_what_was_answered_and_why() -> None:
    one, other = Ledger(), Ledger()
    one.note("stop", 200, "")
    one.note("stop", 431, "machine 00000000-0000-4000-8000-000000000001 (web) is in state Error")
    other.note("stop", 431, "machine 00000000-0000-4000-8000-000000000002 (db) is in state Error")
    other.note("start", 0, "")
    one.add(other)
    stop = one.commands["stop"]
    assert (stop.sent, stop.accepted, dict(stop.refused)) == (
        3, 1, {"machine # is in state Error": 2}
    )  # fmt: skip
    assert one.commands["start"].unanswered == 1
    assert one.never_accepted(["stop", "start", "reboot"]) == ["reboot", "start"]


def test_a_reason_has_no_numbers_and_no_names_with_numbers() -> None:
    assert reason("Host host-2 has 3 machines: web, db") == "Host # has # machines: web, db"
