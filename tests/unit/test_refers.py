"""Every id that a command takes says what it names, or the command is refused when declared."""

from __future__ import annotations

from typing import Annotated, Any, ClassVar, NewType

import pytest

from csnode import types
from csnode.api.about import About, Entries, Free, Map, Unscoped
from csnode.api.call import Call
from csnode.api.command import COMMANDS, Answers, ApiCommand, command, kinds_needed
from csnode.api.refers import REFERS, Reference, check_declared, kind_of, references
from csnode.api.view import Shown
from csnode.faults import Broken
from csnode.model.entity import Entity
from csnode.model.network import Network, Nic
from csnode.model.stock import Lock
from csnode.model.vm import Vm

LampId = NewType("LampId", str)


class Lit(ApiCommand):
    """Base of the commands here; none is ever run."""

    async def run(self, call: Call) -> None:
        raise NotImplementedError


class ByUnknownType(Lit):
    id: Annotated[LampId, About("the id of a lamp")]


class BySeveral(Lit):
    ids: Annotated[tuple[LampId, ...], About("the ids of lamps")] = ()


class ByText(Lit):
    nic_id: Annotated[str | None, About("the id of a card")] = None


class ByTexts(Lit):
    nic_ids: Annotated[tuple[str, ...], About("the ids of cards")] = ()


class ByMap(Lit):
    lamps: Annotated[Map, About("lamps[0].id=..")] = ()


class ByEntries(Lit):
    lamps: Annotated[Map, About("lamps[0].id=.."), Entries((("id", LampId),))] = ()


@pytest.mark.parametrize(
    ("request_type", "why"),
    [
        (ByUnknownType, "nothing says which rows a LampId names"),
        (BySeveral, "nothing says which rows a LampId names"),
        (ByText, "parameter nicid: give the id a type of its own"),
        (ByTexts, "parameter nicids: give the id a type of its own"),
        (ByMap, "parameter lamps: mark the map"),
        (ByEntries, "parameter lamps: id holds .*LampId"),
    ],
)
def test_a_command_with_an_id_of_nothing_known_is_refused(
    request_type: type[Lit], why: str
) -> None:
    with pytest.raises(Broken, match=f"lightLamp, {why}|lightLamp, .*: {why}"):
        command("lightLamp", answers=Answers.SUCCESS)(request_type)
    assert "lightlamp" not in COMMANDS


class Said(Lit):
    nic_id: Annotated[types.NicId | None, About("a card")] = None
    vm_ids: Annotated[tuple[types.VmId, ...], About("machines"), Unscoped("a test")] = ()
    note_id: Annotated[str | None, About("a note"), Free("it names no row")] = None
    other_id: Annotated[types.VmId | None, About("a machine"), Free("it names no row here")] = None
    nets: Annotated[Map, About("networks"), Entries((("networkid", types.NetworkId),))] = ()
    details: Annotated[Map, About("details"), Free("options")] = ()


def test_what_an_id_says_is_what_it_refers_to() -> None:
    check_declared("lightLamp", Said)
    assert references(Said) == (
        Reference("nic_id", "nicid", Nic),
        Reference("vm_ids", "vmids", Vm, many=True, unscoped=True),
        Reference("nets", "nets", Network, key="networkid"),
    )
    assert [r.asked_as for r in references(Said)] == ["nicid", "vmids", "nets[0].networkid"]


def test_every_type_of_id_is_known_but_that_of_nodes() -> None:
    """A node is no row. A new type of id in csnode.types needs a kind, or the word Free."""
    ids: dict[str, Any] = {n: t for n, t in vars(types).items() if isinstance(t, NewType)}
    assert {name for name, type in ids.items() if type not in REFERS} == {"NodeId"}
    assert all(kind_of(type) is not None for name, type in ids.items() if name != "NodeId")


def test_a_cards_owner_is_at_hand_wherever_a_card_is_named() -> None:
    """The api's view holds what commands name, and that through which it is owned."""
    command("lightLamp", answers=Answers.SUCCESS)(Said)
    try:
        assert {Nic, Vm, Network} <= kinds_needed()
    finally:
        del COMMANDS["lightlamp"]


class Locked(Shown):
    """An answer that reads rows which no command names."""

    of: ClassVar[type[Entity]] = Vm
    reads: ClassVar[tuple[type[Entity], ...]] = (Lock,)


def test_the_apis_view_holds_the_kinds_that_an_answer_says_it_reads() -> None:
    assert Lock not in kinds_needed()
    command("lightLamp", answers=Answers.SUCCESS, shows=Locked)(Said)
    try:
        assert {Lock, Vm} <= kinds_needed()
    finally:
        del COMMANDS["lightlamp"]
