"""Power over hosts: asks each host's fencer, which its row names, or else the configuration."""

from __future__ import annotations

from collections.abc import Callable, Coroutine
from typing import Any, TypeVar

from csnode.bus.bus import Bus
from csnode.context import proved
from csnode.contracts.fabric import Fabric
from csnode.data.alarm import HOST, alarm
from csnode.data.store import Store
from csnode.drivers.driver import Seat
from csnode.drivers.fencer import Fencer
from csnode.faults import Conflict, Denied, Fault, Refused
from csnode.log import logger
from csnode.model.host import Host, Seen
from csnode.plugins import driver_type
from csnode.types import HostId
from roles.fabric.config import FabricConfig
from roles.fabric.leased import HostLeases

T = TypeVar("T")
MANUAL = "manual"
REPORT_MAX = 1000  # characters
log = logger("fabric")


class HostPower(Fabric):
    """Any number of them may be asked: fencing twice is fencing once, and only who is Down is."""

    def __init__(self, config: FabricConfig, store: Store, bus: Bus) -> None:
        self._config, self._store, self._bus = config, store, bus

    async def fence(self, host: HostId) -> str:
        row = await self._store.get(Host, host)
        if row.fenced:
            return row.fence_proof
        if row.seen is not Seen.DOWN:  # the question waited somewhere, and the host came back
            raise Conflict(f"host {row.name} is {row.seen}: it is not switched off")
        proof = await self._asked(host, lambda fencer: fencer.fence())
        log.warning("host fenced", host=host, proof=proof)
        return proof

    async def power(self, host: HostId) -> str:
        return await self._asked(host, lambda fencer: fencer.power())

    async def report(self, host: HostId, text: str) -> None:
        who = proved()
        if who is not None and not who.controls and host not in who.places:
            raise Denied(f"{who.name} may not report on host {host}")
        row = await self._store.get(Host, host)
        await alarm(self._store, HOST, row, "lease", f"Host {row.name}: {text[:REPORT_MAX]}")

    async def restore(self, host: HostId) -> None:
        await self._asked(host, lambda fencer: fencer.restore())

    async def _asked(self, id: HostId, ask: Callable[[Fencer], Coroutine[Any, Any, T]]) -> T:
        host = await self._store.get(Host, id)
        try:
            async with self._fencer(host) as fencer:
                return await ask(fencer)
        except Fault as fault:
            log.warning("fencer failed", host=host.name, why=fault.message, detail=fault.detail)
            raise

    def _fencer(self, host: Host) -> Fencer:
        """Return the host's fencer.

        The host's own options go over the configured ones, if they are of the same fencer.
        """
        config = self._config
        name = host.ha_provider or config.fence or MANUAL
        options: dict[str, Any] = dict(config.fence_options) if name == config.fence else {}
        kind: type[Fencer] = driver_type(Fencer, name)
        seat = Seat(id=host.id, name=host.name, address=host.address, folder="")
        try:
            fencer = kind(options | host.fence_options, seat)
        except Fault as fault:
            raise Refused(f"host {host.name} has no usable fencer: {fault.message}") from fault
        fencer.leases = HostLeases(self._store, self._bus, host, config.trust_lease)
        return fencer
