"""A small cloud's rows, written straight into the data service; no component is behind them."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import msgspec

from csnode.api.passwords import hashed
from csnode.data.store import Store
from csnode.model.entity import Entity
from csnode.model.fit import reserved
from csnode.model.host import Host, Seen, StoragePool
from csnode.model.identity import Account, AccountType, Domain, User
from csnode.model.job import Job
from csnode.model.network import Network, Nic
from csnode.model.offering import DiskOffering, NetworkOffering, Offering, OsType
from csnode.model.place import Cluster, Pod, Zone
from csnode.model.room import BYTES, promised
from csnode.model.stock import Range
from csnode.model.template import Template
from csnode.model.vm import Vm, Want
from csnode.model.volume import Volume
from csnode.types import Power

GIB = 1024**3


def uuid(number: int) -> Any:
    """A readable id."""
    return f"00000000-0000-4000-8000-{number:012d}"


ROOT, ACME, ACME_LABS, OTHER = uuid(1), uuid(2), uuid(3), uuid(4)
ADMIN, BOSS, ALICE, BOB, LAB = uuid(11), uuid(12), uuid(13), uuid(14), uuid(15)
ZONE, POD, CLUSTER, HOST, POOL = uuid(21), uuid(22), uuid(23), uuid(24), uuid(25)
SMALL, DISK, NET_OFFERING, DEBIAN, PERSISTENT = uuid(31), uuid(32), uuid(33), uuid(34), uuid(35)
IMAGE, PRIVATE_IMAGE, RAW_IMAGE = uuid(41), uuid(42), uuid(43)
CUSTOM_DISK, ACME_OFFERING, GONE_OFFERING = uuid(51), uuid(52), uuid(53)
PASSWORD = "correct horse"
HASHED = hashed(PASSWORD)


def user_of(account: str) -> Any:
    """The id of an account's only user."""
    return account[:-3] + "9" + account[-2:]


def base() -> list[Entity]:
    """Domains ROOT, ROOT/acme, ROOT/acme/labs, ROOT/other; five accounts; a zone with a host."""
    rows: list[Any] = [
        Domain(id=ROOT, name="ROOT", path="ROOT", created=1.0),
        Domain(id=ACME, name="acme", path="ROOT/acme", parent=ROOT, level=1, created=2.0),
        Domain(id=ACME_LABS, name="labs", path="ROOT/acme/labs", parent=ACME, level=2, created=3.0),
        Domain(id=OTHER, name="other", path="ROOT/other", parent=ROOT, level=1, created=4.0),
        Zone(id=ZONE, name="zone1", dns1="192.0.2.53", created=1.0),
        Pod(id=POD, zone=ZONE, name="pod1", gateway="192.0.2.1", netmask="255.255.255.0",
            start_ip="192.0.2.10", end_ip="192.0.2.20", created=1.0),
        Cluster(id=CLUSTER, zone=ZONE, pod=POD, name="cluster1", created=1.0),
        Host(id=HOST, name="h1", zone=ZONE, pod=POD, cluster=CLUSTER, address="192.0.2.10",
             seen=Seen.UP, cpus=8, cpu_mhz=2000, memory_mib=16384, version="0.1.0", created=1.0),
        StoragePool(id=POOL, name="h1-pool", zone=ZONE, pod=POD, cluster=CLUSTER, host=HOST,
                    path="/var/lib/csnode/pool", total_bytes=100 * GIB, used_bytes=GIB,
                    created=1.0),
        Offering(id=SMALL, name="Small", cpus=1, cpu_mhz=500, memory_mib=512, created=1.0),
        Offering(id=ACME_OFFERING, name="Acme only", cpus=1, memory_mib=512, domain=ACME,
                 created=2.0),
        Offering(id=GONE_OFFERING, name="Gone", cpus=1, memory_mib=512, removed=True, created=3.0),
        DiskOffering(id=DISK, name="Five", gib=5, created=1.0),
        DiskOffering(id=CUSTOM_DISK, name="Custom", custom=True, created=2.0),
        NetworkOffering(id=NET_OFFERING, name="DefaultIsolatedNetworkOfferingWithSourceNatService",
                        services=("Dhcp", "Dns", "SourceNat", "UserData"), is_default=True,
                        created=1.0),
        NetworkOffering(id=PERSISTENT, name="Persistent", services=("Dhcp",), persistent=True,
                        created=2.0),
        OsType(id=DEBIAN, name="Debian GNU/Linux 12 (64-bit)", category="Debian"),
        Range(id="vm", low=1, high=1_000_000),
        Range(id=f"vni:{ZONE}", low=1000, high=1999),
        Range(id=f"public:{ZONE}", low=0xC6336402, high=0xC63364FE, form="ipv4"),
        Template(id=IMAGE, name="debian", display_text="Debian 12", account=ADMIN, domain=ROOT,
                 url="http://images.test/debian.qcow2", os_type=DEBIAN, public=True, featured=True,
                 ready=True, size=2 * GIB, physical_size=GIB, created=1.0),
        Template(id=PRIVATE_IMAGE, name="alices", account=ALICE, domain=ACME, zone=ZONE,
                 url="http://images.test/alices.qcow2", ready=True, size=GIB, created=2.0),
        Template(id=RAW_IMAGE, name="coming", account=ADMIN, domain=ROOT, public=True,
                 url="http://images.test/coming.qcow2", percent=40, created=3.0),
    ]  # fmt: skip
    people = [
        (ADMIN, "admin", ROOT, AccountType.ROOT_ADMIN, "admin"),
        (BOSS, "boss", ACME, AccountType.DOMAIN_ADMIN, "boss"),
        (ALICE, "alice", ACME, AccountType.USER, "alice"),
        (BOB, "bob", OTHER, AccountType.USER, "bob"),
        (LAB, "lab", ACME_LABS, AccountType.USER, "lab"),
    ]
    for account, name, domain, type, user in people:
        rows.append(Account(id=account, name=name, domain=domain, type=type, created=5.0))
        rows.append(
            User(id=user_of(account), name=user, account=account, domain=domain, password=HASHED,
                 first_name=name.title(), last_name="Tester", email=f"{name}@example.org",
                 api_key=f"{name}-key", secret_key=f"{name}-secret", created=6.0)
        )  # fmt: skip
    return rows


def network(id: Any, account: Any = ALICE, domain: Any = ACME, name: str = "front") -> list[Any]:
    """A network and the addresses of its machines."""
    return [
        Network(id=id, name=name, account=account, domain=domain, zone=ZONE, offering=NET_OFFERING,
                cidr="10.1.1.0/24", gateway="10.1.1.1", vni=1500, public_address="198.51.100.9",
                network_domain="cs.internal", created=10.0),
        Range(id=f"guest:{id}", low=0x0A010102, high=0x0A0101FE, form="ipv4"),
    ]  # fmt: skip


def machine(
    number: int, network: Any, account: Any = ALICE, domain: Any = ACME, **columns: Any
) -> list[Any]:
    """A machine with a card and a disk; running unless the columns say otherwise."""
    id, high, low = uuid(1_000_000 + number), number >> 8 & 255, number & 255
    vm = Vm(id=id, name=f"web{number}", account=account, domain=domain, user=user_of(account),
            zone=ZONE, offering=SMALL, template=IMAGE, os_type=DEBIAN, cpus=1, cpu_mhz=500,
            memory_mib=512, number=number, want=Want.RUNNING, created=100.0 + number, host=HOST,
            started=True, power=Power.ON)  # fmt: skip
    return [
        msgspec.structs.replace(vm, **columns),
        Nic(id=uuid(2_000_000 + number), vm=id, network=network,
            mac=f"02:00:00:00:{high:02x}:{low:02x}", address=f"10.1.{high}.{low}"),
        Volume(id=uuid(3_000_000 + number), name=f"ROOT-{number}", account=account, domain=domain,
               zone=ZONE, vm=id, size=2 * GIB, template=IMAGE, offering=SMALL, pool=POOL,
               ready=True, created=100.0 + number, attached=100.0 + number),
    ]  # fmt: skip


async def plant(store: Store, rows: list[Any], at_once: int = 400) -> None:
    """Commit the rows, and count in the last commit what they take of hosts and pools."""
    for start in range(0, len(rows), at_once):
        change = store.change()
        for row in rows[start : start + at_once]:
            change.create(row)
        if start + at_once >= len(rows):
            for owner, taken in taken_by(rows).items():
                change.count(owner, taken)
        await change.commit()


def taken_by(rows: Iterable[Entity]) -> dict[str, dict[str, int]]:
    """Add up what rows take of each host and pool, by its id."""
    every = list(rows)
    hosts = reserved(row for row in every if isinstance(row, Vm))
    volumes = [row for row in every if isinstance(row, Volume)]
    pools = promised(volumes, (row for row in every if isinstance(row, Job)))
    return {**{id: dict(held) for id, held in hosts.items()},
            **{id: {BYTES: held} for id, held in pools.items()}}  # fmt: skip
