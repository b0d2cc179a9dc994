"""A virtual machine: what its owner wants, and what was last seen of it."""

from __future__ import annotations

from enum import StrEnum
from typing import Annotated, ClassVar

from csnode.model.entity import Entity, Fact, Key, Leaves, Ref, Was
from csnode.model.offering import Offering
from csnode.model.orders import Action
from csnode.model.owner import ByAccount, Ownership
from csnode.types import (
    AccountId,
    DomainId,
    HostId,
    OfferingId,
    OsTypeId,
    Power,
    TemplateId,
    UserId,
    ZoneId,
)


class Want(StrEnum):
    """What the owner asked for last."""

    RUNNING = "running"
    STOPPED = "stopped"
    DESTROYED = "destroyed"  # off, and recoverable until it is expunged
    GONE = "gone"


class VmState(StrEnum):
    """What a machine is shown to be; the words are CloudStack's."""

    STARTING = "Starting"
    RUNNING = "Running"
    STOPPING = "Stopping"
    STOPPED = "Stopped"
    MIGRATING = "Migrating"
    DESTROYED = "Destroyed"
    EXPUNGING = "Expunging"
    ERROR = "Error"


LEAVING = (VmState.DESTROYED, VmState.EXPUNGING)


class Vm(Entity):
    """One machine; id: VmId. `host` is set exactly while capacity is reserved for it there.

    `maybe_on` names every host where a domain of it may exist: one is added before anything is
    asked of it, and goes only once it said that there is none. What the machine took (addresses,
    its name) is free again only when no host is left.
    """

    kind: ClassVar[str] = "vm"
    owned_by: ClassVar[Ownership] = ByAccount()

    name: str
    display_name: str = ""
    account: Annotated[AccountId, Key(), Ref(to="account")]
    domain: Annotated[DomainId, Ref(to="domain", pins=False)]  # its account pins it
    user: Annotated[UserId | None, Was(to="user")] = None
    zone: Annotated[ZoneId, Ref(to="zone")]
    offering: Annotated[OfferingId, Ref(to="offering")]
    template: Annotated[TemplateId, Key(), Ref(to="template")]
    os_type: Annotated[OsTypeId | None, Ref(to="os_type")] = None
    cpus: int
    cpu_mhz: int = 1000
    memory_mib: int
    limit_cpu: bool = False  # cpu_mhz is a limit too
    group: str = ""
    user_data: str = ""  # base64, as the caller sent it
    keypair: str = ""
    public_key: str = ""
    want: Annotated[Want, Leaves(when=Want.GONE)] = Want.RUNNING
    delete_protection: bool = False
    destroyed: float = 0.0  # when it was destroyed; expunged some time after
    number: int = 0  # in its instance name: i-2-NUMBER-VM
    created: float = 0.0
    given_back: bool = False  # it never ran, and holds no address, name nor place within limits

    host: Annotated[HostId | None, Key(), Ref(to="host"), Fact(by="orchestrator")] = None
    last_host: Annotated[HostId | None, Was(to="host"), Fact(by="orchestrator")] = None
    maybe_on: Annotated[tuple[HostId, ...], Ref(to="host"), Fact(by="orchestrator")] = ()
    moving_to: Annotated[HostId | None, Ref(to="host"), Fact(by="orchestrator")] = (
        None  # not there yet
    )
    started: Annotated[bool, Fact(by="orchestrator")] = False  # has run at least once
    trouble: Annotated[str, Fact(by="orchestrator")] = ""  # why the first start failed for good
    power: Annotated[Power, Fact(by="compute")] = Power.ABSENT
    ha: bool = False  # restarted elsewhere if its host fails, whatever its offering says

    @property
    def held_by(self) -> tuple[HostId, ...]:
        """The hosts at which capacity is taken for it: its own, and the one that it moves to."""
        return tuple(host for host in (self.host, self.moving_to) if host)

    @property
    def may_be_on(self) -> tuple[HostId, ...]:
        """Every host that holds it or where a domain of it may be, its own first, each once."""
        every = (self.host, *self.maybe_on, self.moving_to)
        return tuple(dict.fromkeys(host for host in every if host))

    @property
    def runs(self) -> bool:
        """Whether it was last seen to run on the host that holds it. One whose host is proven off
        holds none, whatever was seen of it before.
        """
        return self.host is not None and self.power is Power.ON

    @property
    def instance_name(self) -> str:
        """What the hypervisor calls it; CloudStack's i-<account>-<number>-VM."""
        return f"i-2-{self.number}-VM"


def is_kept(vm: Vm, offering: Offering | None) -> bool:
    """Tell whether the machine is to be kept running, its host may fail or not."""
    return vm.ha or (offering is not None and offering.offer_ha)


def state_of(vm: Vm, action: str = "") -> VmState:
    """Return the state CloudStack would show: derived, never stored.

    `action` is what the order at work does to the machine (an Action); "" if there is none.
    """
    if (meanwhile := _under(action, vm)) is not None:
        return meanwhile
    if vm.want is Want.GONE:
        return VmState.EXPUNGING
    if vm.want is Want.DESTROYED:
        return VmState.DESTROYED
    if vm.runs:
        return VmState.RUNNING
    if vm.trouble and not vm.started:
        return VmState.ERROR
    return VmState.STOPPED


def _under(action: str, vm: Vm) -> VmState | None:
    """Return the state while such an order is at work; None if the order leaves it as it is."""
    match action:
        case Action.DEPLOY | Action.START:
            return VmState.STARTING
        case Action.STOP:
            return VmState.STOPPING
        case Action.DESTROY:
            return VmState.STOPPING if vm.power is Power.ON else VmState.DESTROYED
        case Action.MIGRATE:
            return VmState.MIGRATING
        case Action.EXPUNGE:
            return VmState.EXPUNGING
        case _:
            return None
