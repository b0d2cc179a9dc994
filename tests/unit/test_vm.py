"""What a machine's row says of it: where it may be, whether it runs, and what it is shown to be."""

from __future__ import annotations

from typing import Any

import pytest

from csnode.model.offering import Offering
from csnode.model.orders import Action
from csnode.model.vm import Vm, VmState, Want, is_kept, state_of
from csnode.types import AccountId, DomainId, HostId, OfferingId, Power, TemplateId, ZoneId

ONE, TWO, THREE = HostId("one"), HostId("two"), HostId("three")


def machine(**columns: Any) -> Vm:
    return Vm(
        id="v", name="web", account=AccountId("a"), domain=DomainId("d"), zone=ZoneId("z"),
        offering=OfferingId("o"), template=TemplateId("t"), cpus=1, memory_mib=64, **columns,
    )  # fmt: skip


@pytest.mark.parametrize(
    ("columns", "held", "maybe"),
    [
        ({}, (), ()),
        ({"host": ONE, "maybe_on": (ONE,)}, (ONE,), (ONE,)),
        ({"maybe_on": (THREE, TWO)}, (), (THREE, TWO)),
        ({"host": TWO, "moving_to": ONE, "maybe_on": (TWO, ONE)}, (TWO, ONE), (TWO, ONE)),
        ({"host": ONE, "moving_to": TWO, "maybe_on": (THREE,)}, (ONE, TWO), (ONE, THREE, TWO)),
    ],
)
def test_a_machine_may_be_wherever_it_is_held_and_where_it_was_not_denied(
    columns: dict[str, Any], held: tuple[HostId, ...], maybe: tuple[HostId, ...]
) -> None:
    vm = machine(**columns)
    assert (vm.held_by, vm.may_be_on) == (held, maybe)


@pytest.mark.parametrize("power", Power)
@pytest.mark.parametrize("host", [None, ONE])
def test_a_machine_runs_only_on_a_host_that_holds_it(power: Power, host: HostId | None) -> None:
    vm = machine(host=host, power=power)
    assert vm.runs is (host is ONE and power is Power.ON)
    assert state_of(vm) is (VmState.RUNNING if vm.runs else VmState.STOPPED)


OFF, ON = {"power": Power.OFF}, {"power": Power.ON, "host": ONE}
SHOWN = [
    (Action.DEPLOY, OFF, VmState.STARTING), (Action.START, OFF, VmState.STARTING),
    (Action.STOP, ON, VmState.STOPPING), (Action.DESTROY, ON, VmState.STOPPING),
    (Action.DESTROY, OFF, VmState.DESTROYED), (Action.MIGRATE, ON, VmState.MIGRATING),
    (Action.EXPUNGE, OFF, VmState.EXPUNGING), (Action.REBOOT, ON, VmState.RUNNING),
    (Action.RELEASE, OFF, VmState.STOPPED), ("acme", ON, VmState.RUNNING),
    ("", OFF | {"want": Want.GONE}, VmState.EXPUNGING),
    ("", ON | {"want": Want.DESTROYED}, VmState.DESTROYED),
    ("", OFF | {"trouble": "no room"}, VmState.ERROR),
    ("", OFF | {"trouble": "no room", "started": True}, VmState.STOPPED),
]  # fmt: skip


@pytest.mark.parametrize(("action", "columns", "state"), SHOWN)
def test_a_machine_is_shown_by_what_is_done_to_it_and_else_by_its_row(
    action: str, columns: dict[str, Any], state: VmState
) -> None:
    assert state_of(machine(**columns), action) is state


def test_a_machine_is_kept_by_its_own_word_or_by_its_offerings() -> None:
    keeps = Offering(id="o", name="ha", cpus=1, memory_mib=64, offer_ha=True)
    assert is_kept(machine(), keeps)
    assert is_kept(machine(ha=True), None)
    assert not is_kept(machine(), None)
