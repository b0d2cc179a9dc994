"""How long it takes to judge a cloud of ten thousand machines, and to find one ghost in it.

All roles that hold something play in this process, on a real SQLite file and simulated hosts:
what is measured is the reading, the asking and the judging, whichever process does it.
"""

from __future__ import annotations

import asyncio
import gc
import time
from ipaddress import IPv4Address
from pathlib import Path
from typing import Any

from csnode.bus.local import LocalBus
from csnode.config import Config
from csnode.data.change import Change
from csnode.data.store import Store
from csnode.directory.alone import AloneDirectory
from csnode.model.fit import reservation
from csnode.model.footprint import footprint
from csnode.model.host import Host, Seen, StoragePool
from csnode.model.identity import Account
from csnode.model.ids import account_usage, guest_addresses, in_network
from csnode.model.machine import Disk, Plug
from csnode.model.network import Network, Nic
from csnode.model.offering import NetworkOffering, Offering
from csnode.model.place import Zone
from csnode.model.stock import Range
from csnode.model.telling import domain_of, guest_network, guest_nic
from csnode.model.template import Template
from csnode.model.vm import Vm
from csnode.model.volume import Volume
from csnode.node import Node
from csnode.testing.cloud import sim_config
from csnode.types import (
    AccountId,
    HostId,
    NetworkId,
    NetworkOfferingId,
    NicId,
    OfferingId,
    PoolId,
    Power,
    TemplateId,
    VmId,
    VolumeId,
    ZoneId,
)
from csnode.uuids import new_id
from csnode.verify.judge import verify
from roles.compute.drivers import sim as hypervisors
from roles.network.drivers import sim as networks
from roles.storage.drivers import sim as pools
from tests.bench.figure import Figure, measured, median
from tests.bench.process import disk_folder

HOSTS, NETWORKS, MACHINES, TIMES, IN_ONE_COMMIT = 50, 50, 10_000, 5, 200
ROLES = ("data", "fabric", "monitor", "compute", "network", "storage")
SIZE = 2 << 30


async def measure() -> list[Figure]:
    with disk_folder() as folder:
        bus = LocalBus(AloneDirectory())
        node = Node(Config(_config(folder)), bus=bus)
        running = asyncio.create_task(node.run())
        try:
            store = Store(bus, "bench")
            async with asyncio.timeout(60):
                while not node.ready:
                    await asyncio.sleep(0.05)
            cloud = Cloud(store)
            await cloud.open()
            await cloud.grow()
            return await _judged(store, cloud)
        finally:
            node.stop()
            await asyncio.gather(running, return_exceptions=True)


def _config(folder: Path) -> dict[str, Any]:
    config = sim_config(
        folder,
        HOSTS,
        compute={"options": {"cpus": 1000, "memory_mib": 1 << 20}, "sweep_seconds": 0},
    )
    config["node"]["roles"] = list(ROLES)
    config["data"]["inline"] = False
    return {name: config[name] for name in ("node", "bus", *ROLES) if name in config}


async def _judged(store: Store, cloud: Cloud) -> list[Figure]:
    walls: list[float] = []
    gc.collect()
    gc.disable()  # as `csnode verify` does
    began_cpu = time.process_time()
    for _ in range(TIMES):
        began = time.perf_counter()
        verdict = await verify(store.bus, store, None)
        walls.append(time.perf_counter() - began)
        assert verdict.clean, verdict.findings[:3]
        assert verdict.looked_at["vms"] == MACHINES
    cpu = (time.process_time() - began_cpu) / TIMES
    cloud.plant_ghost()
    found = (await verify(store.bus, store, None)).findings
    assert [f.check for f in found] == ["domain-without-record"], found[:3]
    gc.enable()
    note = f"{cpu:.2f} s of CPU of all roles; {HOSTS} hosts, {NETWORKS} networks"
    return [measured(f"verify, {MACHINES:,} machines", median(walls), "s", 1, beside=note)]


class Cloud:
    """Rows and hardware of machines that all run, as if they had been deployed."""

    def __init__(self, store: Store) -> None:
        self._store = store

    async def open(self) -> None:
        """Hosts and pools are there; a template, and networks with their routers."""
        store = self._store
        async with asyncio.timeout(120):
            while not await self._is_whole():
                await asyncio.sleep(0.1)
        self._account = (await store.find(Account))[0]
        self._zone = (await store.find(Zone))[0]
        self._offering = (await store.find(Offering))[0]
        offering = (await store.find(NetworkOffering))[0]
        self._template = TemplateId(new_id())
        change = store.acting_as("orchestrator").change()
        change.create(
            Template(
                id=self._template, name="tiny", account=AccountId(self._account.id),
                domain=self._account.domain, ready=True, size=SIZE,
            )
        )  # fmt: skip
        self._networks = [self._network(change, n, offering) for n in range(NETWORKS)]
        await change.commit()
        ids = [network.id for network in self._networks]
        self._networks = [await store.get(Network, id) for id in ids]
        for network in self._networks:
            world, told = networks.outside(str(network.router)), guest_network(network, self._zone)
            world.routers[told.network] = told
            world.nics[told.network] = {}
            world.bridges.add(told.network)

    async def _is_whole(self) -> bool:
        self._hosts = [h for h in await self._store.find(Host) if h.seen is Seen.UP]
        found = await self._store.find(StoragePool)
        self._pools = {pool.host: pool for pool in found}
        return len(self._hosts) == HOSTS == len(found)

    def _network(self, change: Change, n: int, offering: NetworkOffering) -> Network:
        row = change.create(
            Network(
                id=new_id(), name=f"front-{n}", account=AccountId(self._account.id),
                domain=self._account.domain, zone=ZoneId(self._zone.id), cidr="10.1.0.0/16",
                offering=NetworkOfferingId(offering.id), gateway="10.1.0.1", up=True,
                network_domain="cs.internal", router=HostId(self._hosts[n % HOSTS].id),
            )
        )  # fmt: skip
        low = int(IPv4Address("10.1.0.2"))
        change.create(Range(id=guest_addresses(row.id), low=low, high=low + 60_000, form="ipv4"))
        change.take(f"vni:{self._zone.id}", row.id, (row, "vni"))
        return row

    async def grow(self) -> None:
        """All machines: rows first, then the hardware as the rows say."""
        for start in range(0, MACHINES, IN_ONE_COMMIT):
            change = self._store.acting_as("orchestrator").change()
            for n in range(start, start + IN_ONE_COMMIT):
                self._machine(change, n)
            await change.commit()
        cards = {nic.vm: nic for nic in await self._store.find(Nic)}
        disks = {volume.vm: volume for volume in await self._store.find(Volume)}
        for vm in await self._store.find(Vm):
            self._outside(vm, cards[VmId(vm.id)], disks[VmId(vm.id)])

    def _machine(self, change: Change, n: int) -> None:
        host, network = self._hosts[n % HOSTS], self._networks[n % NETWORKS]
        account, domain, zone = AccountId(self._account.id), self._account.domain, network.zone
        at, size = HostId(host.id), self._offering
        mac = "02:" + ":".join(f"{byte:02x}" for byte in n.to_bytes(5, "big"))
        vm = change.create(
            Vm(
                id=new_id(), name=f"machine-{n}", account=account, domain=domain, zone=zone,
                offering=OfferingId(size.id), template=self._template, cpus=size.cpus,
                cpu_mhz=size.cpu_mhz, memory_mib=size.memory_mib, host=at, last_host=at,
                maybe_on=(at,), started=True, power=Power.ON,
            )
        )  # fmt: skip
        change.take("vm", vm.id, (vm, "number"))
        change.create(
            Volume(
                id=new_id(), name=f"ROOT-{n}", account=account, domain=domain, zone=zone,
                vm=VmId(vm.id), size=SIZE, template=self._template, ready=True,
                pool=PoolId(self._pools[at].id),
            )
        )  # fmt: skip
        nic = change.create(
            Nic(
                id=new_id(), vm=VmId(vm.id), network=NetworkId(network.id), mac=mac,
                named=in_network(network.id, vm.name), carded=in_network(network.id, mac),
            )
        )  # fmt: skip
        change.take(f"guest:{network.id}", nic.id, (nic, "address"))
        change.count(at, reservation(vm))
        change.count(account_usage(account), footprint(vm, (SIZE,)))

    def _outside(self, vm: Vm, nic: Nic, volume: Volume) -> None:
        network = next(n for n in self._networks if n.id == nic.network)
        pool = pools.outside(str(volume.pool))
        pool.images.add(self._template)
        pool.volumes[VolumeId(volume.id)] = self._template
        told = guest_nic(vm, nic, network, self._offering, self._zone)
        networks.outside(str(network.router)).nics[nic.network][NicId(nic.id)] = told
        disk = Disk(volume=VolumeId(volume.id), path=f"sim://pool/{volume.id}")
        plug = Plug(nic=NicId(nic.id), mac=nic.mac, bridge="sim")
        machine = hypervisors.SimMachine(domain_of(vm, (disk,), (plug,)))
        machine.power = Power.ON
        hypervisors.outside(str(vm.host)).machines[VmId(vm.id)] = machine

    def plant_ghost(self) -> None:
        """A domain that no record knows."""
        machines = hypervisors.outside(self._hosts[0].id).machines
        machines[VmId(new_id())] = next(iter(machines.values()))
