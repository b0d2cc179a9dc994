"""Orders: what the api may ask of the orchestrator. One order starts one saga."""

from __future__ import annotations

import re
from enum import StrEnum
from typing import ClassVar

from csnode.model.ids import object_name
from csnode.types import ClusterId, HostId, NetworkId, PodId, PoolId, Struct, TemplateId, VmId


class Action(StrEnum):
    """What an order does to its object: the first word of its verb. Plug-ins have others."""

    DEPLOY = "deploy"
    START = "start"
    STOP = "stop"
    REBOOT = "reboot"
    MIGRATE = "migrate"
    DESTROY = "destroy"
    EXPUNGE = "expunge"
    RELEASE = "release"
    FETCH = "fetch"
    DELETE = "delete"
    IMPLEMENT = "implement"
    SHUTDOWN = "shutdown"
    FENCE = "fence"
    RETURN = "return"
    EVACUATE = "evacuate"


def action_of(verb: str) -> str:
    """Return what orders of that verb do; an Action, unless a plug-in's saga has the verb."""
    return verb.partition("_")[0]


class Order(Struct):
    """Base of every order. `needs` are the objects it must have alone, "kind:id"."""

    object_kind: ClassVar[str] = ""

    @classmethod
    def verb(cls) -> str:
        """Return the saga's name: deploy_vm for DeployVm."""
        return re.sub(r"(?<!^)(?=[A-Z])", "_", cls.__name__).lower()

    @property
    def object_id(self) -> str:
        """The object it is about, as jobinstanceid shows it."""
        return ""

    @property
    def needs(self) -> tuple[str, ...]:
        return (object_name(self.object_kind, self.object_id),) if self.object_id else ()


class VmOrder(Order):
    """Base of the orders about one machine."""

    object_kind: ClassVar[str] = "vm"
    vm: VmId

    @property
    def object_id(self) -> str:
        return self.vm


class PlacedOrder(VmOrder):
    """Base of the orders that find a machine a host: which it may be. None: any."""

    host: HostId | None = None
    cluster: ClusterId | None = None
    pod: PodId | None = None


class DeployVm(PlacedOrder):
    """Make the machine, and start it if it is to run."""

    start: bool = True


class StartVm(PlacedOrder):
    """Start a stopped machine; with ha, it was to run already: if this fails, it still is."""

    ha: bool = False


class StopVm(VmOrder):
    """Stop a machine; by force if it must not be asked."""

    forced: bool = False


class RebootVm(VmOrder):
    """Reboot a running machine."""

    forced: bool = False


class MigrateVm(VmOrder):
    """Move a running machine to another host, as it runs."""

    host: HostId | None = None  # None: one is chosen
    pools: dict[str, PoolId] = {}  # where volumes are to go, by id; the others as they must


class DestroyVm(VmOrder):
    """Stop the machine and mark it destroyed; with expunge, leave nothing of it."""

    expunge: bool = False


class ExpungeVm(VmOrder):
    """Leave nothing of a destroyed machine."""


class FetchTemplate(Order):
    """Fetch the image to a pool of its zone and check it."""

    object_kind: ClassVar[str] = "template"
    template: TemplateId

    @property
    def object_id(self) -> str:
        return self.template


class DeleteTemplate(Order):
    """Remove the image from every pool, then its record."""

    object_kind: ClassVar[str] = "template"
    template: TemplateId

    @property
    def object_id(self) -> str:
        return self.template


class ImplementNetwork(Order):
    """Build the network's router."""

    object_kind: ClassVar[str] = "network"
    network: NetworkId

    @property
    def object_id(self) -> str:
        return self.network


class ShutdownNetwork(Order):
    """Take the network's router down; with remove, the network too."""

    object_kind: ClassVar[str] = "network"
    network: NetworkId
    remove: bool = False

    @property
    def object_id(self) -> str:
        return self.network


class HostOrder(Order):
    """Base of the orders about one host."""

    object_kind: ClassVar[str] = "host"
    host: HostId

    @property
    def object_id(self) -> str:
        return self.host


class FenceHost(HostOrder):
    """Make sure that a host is off, and let go of what was on it.

    `word` is an operator's, who knows that it is off; empty: the host's fencer must prove it.
    """

    word: str = ""


class ReturnHost(HostOrder):
    """Take a fenced host back: whatever belongs elsewhere by now goes from it first."""


class ReleaseVm(VmOrder):
    """Let go of a machine whose host is proven off; one that is to be kept running starts anew."""


class EvacuateHost(HostOrder):
    """Move every machine and router away from a host that is to be maintained."""
