"""Running machines by the thousand, as rows: written through the data service, seen by the api."""

from __future__ import annotations

from ipaddress import IPv4Address

from csnode.data.change import Change
from csnode.data.store import Store
from csnode.model.host import Host, Seen
from csnode.model.identity import Account, User
from csnode.model.network import Network, Nic
from csnode.model.offering import NetworkOffering, Offering, OsType
from csnode.model.place import Cluster, Pod, Zone
from csnode.model.template import Template
from csnode.model.vm import Vm
from csnode.model.volume import Volume
from csnode.types import (
    ClusterId,
    HostId,
    NetworkId,
    NetworkOfferingId,
    OfferingId,
    OsTypeId,
    PodId,
    Power,
    TemplateId,
    UserId,
    VmId,
    ZoneId,
)
from csnode.uuids import new_id, source

IN_ONE_COMMIT, IN_ONE_NETWORK, HOSTS = 200, 200, 20
AT = 1_700_000_000.0


class Rows:
    """Makes machines with a host, a card and a root disk each, of what fabric has seeded."""

    def __init__(self, store: Store) -> None:
        self._store = store
        self.made: list[VmId] = []

    async def open(self) -> None:
        """Hosts and a template to refer to."""
        store = self._store
        self._zone = (await store.find(Zone))[0]
        self._account = (await store.find(Account))[0]
        self._user = (await store.find(User))[0]
        self._offering = (await store.find(Offering))[0]
        self._os_type = (await store.find(OsType))[0]
        self._network_offering = (await store.find(NetworkOffering))[0]
        pod, cluster = (await store.find(Pod))[0], (await store.find(Cluster))[0]
        self._hosts = [HostId(new_id()) for _ in range(HOSTS)]
        self._template = TemplateId(new_id())
        change = store.change()
        for n, host in enumerate(self._hosts):
            change.create(
                Host(
                    id=host, name=f"bench-{n}", zone=ZoneId(self._zone.id), pod=PodId(pod.id),
                    cluster=ClusterId(cluster.id), address=f"192.0.2.{n + 1}", seen=Seen.UP,
                    cpus=64, cpu_mhz=2000, memory_mib=1 << 18, created=AT,
                )
            )  # fmt: skip
        change.create(
            Template(
                id=self._template, name="debian", display_text="Debian 12",
                account=self._user.account, domain=self._account.domain, ready=True,
                url="http://images.example/debian.qcow2", size=2 << 30, percent=100,
                os_type=OsTypeId(self._os_type.id), created=AT,
            )
        )  # fmt: skip
        await change.commit()

    async def grow(self, total: int) -> None:
        """So many machines in all."""
        while len(self.made) < total:
            change = self._store.change()
            for _ in range(min(IN_ONE_COMMIT, total - len(self.made))):
                if len(self.made) % IN_ONE_NETWORK == 0:
                    self._add_network(change)
                self._add_machine(change)
            await change.commit()

    async def touch(self, n: int) -> None:
        """Change one machine, so that whatever was kept of it is out of date."""
        change = self._store.change()
        change.update(Vm, self.made[n], group=new_id())
        await change.commit()

    def _add_network(self, change: Change) -> None:
        self._network = NetworkId(new_id())
        change.create(
            Network(
                id=self._network, name=f"front-{len(self.made)}", account=self._user.account,
                domain=self._account.domain, zone=ZoneId(self._zone.id), cidr="10.1.0.0/16",
                offering=NetworkOfferingId(self._network_offering.id), gateway="10.1.0.1",
                network_domain="cs.internal", vni=1000 + len(self.made), up=True,
                router=self._hosts[0], public_address="198.51.100.77", created=AT,
            )
        )  # fmt: skip

    def _add_machine(self, change: Change) -> None:
        n, vm = len(self.made), VmId(new_id())
        self.made.append(vm)
        account, domain, zone = self._user.account, self._account.domain, ZoneId(self._zone.id)
        mac = ":".join(f"{octet:02x}" for octet in (0x02, *source.randbytes(5)))
        change.create(
            Vm(
                id=vm, name=f"machine-{n:05d}", display_name=f"Machine {n}", account=account,
                domain=domain, user=UserId(self._user.id), zone=zone, group="bench",
                offering=OfferingId(self._offering.id), template=self._template, cpus=1,
                os_type=OsTypeId(self._os_type.id), memory_mib=512, number=n + 1, created=AT,
                host=self._hosts[n % HOSTS], last_host=self._hosts[n % HOSTS], started=True,
                power=Power.ON, keypair="mine",
            )
        )  # fmt: skip
        change.create(
            Nic(
                id=new_id(), vm=vm, network=self._network, mac=mac,
                address=str(IPv4Address("10.1.0.10") + n % IN_ONE_NETWORK),
            )
        )  # fmt: skip
        change.create(
            Volume(
                id=new_id(), name=f"ROOT-{n}", account=account, domain=domain, zone=zone, vm=vm,
                size=2 << 30, template=self._template, offering=OfferingId(self._offering.id),
                ready=True, created=AT, attached=AT,
            )
        )  # fmt: skip
