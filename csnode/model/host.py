"""Hosts that run machines, and pools that hold their disks."""

from __future__ import annotations

from enum import StrEnum
from typing import Annotated, ClassVar

from csnode.model.entity import Entity, Fact, Key, Ref, Was
from csnode.model.owner import Operators, Ownership
from csnode.types import ClusterId, HostId, PodId, ZoneId


class Seen(StrEnum):
    """What monitor makes of a host's heartbeats; the words are CloudStack's."""

    CONNECTING = "Connecting"
    UP = "Up"
    DISCONNECTED = "Disconnected"  # it said goodbye
    ALERT = "Alert"  # it fell silent, and nobody knows that it is off
    DOWN = "Down"  # nothing of it is heard, and no witness reaches it


class Maintenance(StrEnum):
    """How far a host is on its way into maintenance; no machine comes to it meanwhile."""

    NONE = ""
    PREPARING = "preparing"  # its machines are moved away
    ON = "on"
    FAILED = "failed"  # some could not be moved


class Host(Entity):
    """A hypervisor host; id: HostId. Fabric enrols it, monitor watches it."""

    kind: ClassVar[str] = "host"
    owned_by: ClassVar[Ownership] = Operators()

    name: Annotated[str, Key(unique=True)]
    zone: Annotated[ZoneId, Ref(to="zone")]
    pod: Annotated[PodId, Ref(to="pod")]
    cluster: Annotated[ClusterId, Ref(to="cluster")]
    address: str = ""
    hypervisor: str = "KVM"
    enabled: bool = True  # resourcestate: Enabled or Disabled
    tags: tuple[str, ...] = ()
    created: float = 0.0

    seen: Annotated[Seen, Fact(by="monitor")] = Seen.CONNECTING
    seen_since: Annotated[float, Fact(by="monitor")] = 0.0
    cpus: Annotated[int, Fact(by="monitor")] = 0
    cpu_mhz: Annotated[int, Fact(by="monitor")] = 0
    memory_mib: Annotated[int, Fact(by="monitor")] = 0
    version: Annotated[str, Fact(by="monitor")] = ""

    ha: bool = False  # it is fenced when it is Down, and its machines run elsewhere
    ha_provider: str = ""  # the fencer's name; empty: as [fabric] fence says
    fence_options: dict[str, str] = {}  # the fencer's own; may hold secrets: never shown
    degraded: bool = False  # an operator's word that it is off, and stays so
    maintenance: Maintenance = Maintenance.NONE  # unless NONE, no machine comes here
    reconnect: float = 0.0  # when an operator last asked for a new look at it
    why: Annotated[str, Fact(by="monitor")] = ""  # what was seen, if it is not Up
    fenced: Annotated[float, Fact(by="orchestrator")] = 0.0  # since when it is proven off; 0: not
    fence_proof: Annotated[str, Fact(by="orchestrator")] = ""  # how that is known


class StoragePool(Entity):
    """Room for volumes; id: PoolId. Reached by one host (scope HOST) or by a cluster's."""

    kind: ClassVar[str] = "pool"
    owned_by: ClassVar[Ownership] = Operators()

    name: str
    zone: Annotated[ZoneId, Ref(to="zone")]
    pod: Annotated[PodId | None, Ref(to="pod")] = None
    cluster: Annotated[ClusterId | None, Ref(to="cluster")] = None
    host: Annotated[HostId | None, Key(), Ref(to="host")] = None  # scope HOST if set
    type: str = "Filesystem"
    path: str = ""
    address: str = ""
    tags: tuple[str, ...] = ()
    enabled: bool = True
    created: float = 0.0
    maintenance: bool = False  # nothing new comes here, and nothing that runs is on it
    hosts: Annotated[
        tuple[HostId, ...], Was(to="host")
    ] = ()  # that reach it, where several do; fabric keeps it
    overprovisioning: float = 2.0  # so often its bytes are promised: volumes are rarely full

    up: Annotated[bool, Fact(by="monitor")] = True
    away_since: Annotated[float, Fact(by="monitor")] = 0.0
    """In seconds since 1970, when the monitor found first that it is not up; 0 if it is."""
    total_bytes: Annotated[int, Fact(by="monitor")] = 0
    used_bytes: Annotated[int, Fact(by="monitor")] = 0


class Retired(Entity):
    """A host or pool that an operator took out of the cloud; id: its HostId or PoolId.

    Fabric does not enrol it again by itself, though its machine may still be heard.
    """

    kind: ClassVar[str] = "retired"
    owned_by: ClassVar[Ownership] = Operators()

    name: str
    since: float = 0.0
    fenced: float = 0.0  # as the host's: what is left on it goes before it is used again
    fence_proof: str = ""
