"""Hosts that run machines, and pools that hold their disks."""

from __future__ import annotations

from enum import StrEnum
from typing import Annotated, ClassVar

from csnode.model.entity import Entity, Fact, Key
from csnode.types import ClusterId, HostId, PodId, ZoneId


class Seen(StrEnum):
    """What monitor makes of a host's heartbeats; the words are CloudStack's."""

    CONNECTING = "Connecting"
    UP = "Up"
    DISCONNECTED = "Disconnected"  # it said goodbye
    ALERT = "Alert"  # it fell silent


class Host(Entity):
    """A hypervisor host; id: HostId. Fabric enrols it, monitor watches it."""

    kind: ClassVar[str] = "host"

    name: Annotated[str, Key(unique=True)]
    zone: ZoneId
    pod: PodId
    cluster: ClusterId
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


class StoragePool(Entity):
    """Room for volumes; id: PoolId. Reached by one host (scope HOST) or by a cluster's."""

    kind: ClassVar[str] = "pool"

    name: str
    zone: ZoneId
    pod: PodId | None = None
    cluster: ClusterId | None = None
    host: Annotated[HostId | None, Key()] = None  # scope HOST if set
    type: str = "Filesystem"
    path: str = ""
    address: str = ""
    tags: tuple[str, ...] = ()
    enabled: bool = True
    created: float = 0.0

    up: Annotated[bool, Fact(by="monitor")] = True
    total_bytes: Annotated[int, Fact(by="monitor")] = 0
    used_bytes: Annotated[int, Fact(by="monitor")] = 0
