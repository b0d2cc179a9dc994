"""What a cloud begins with. Ids follow from names, so that seeding twice is seeding once."""

from __future__ import annotations

import ipaddress
from contextlib import suppress

from msgspec.structs import replace

from csnode.api.passwords import hashed
from csnode.clock import wall
from csnode.data.store import Store
from csnode.faults import Conflict, Invalid, NotFound
from csnode.model import rules
from csnode.model.entity import Entity
from csnode.model.identity import Account, AccountType, Domain, User
from csnode.model.ids import VM_NUMBERS, public_addresses, vnis
from csnode.model.offering import SOURCE_NAT, DiskOffering, NetworkOffering, Offering, OsType
from csnode.model.place import Cluster, Pod, Zone
from csnode.model.stock import Range, RangeForm
from csnode.types import AccountId, DomainId, PodId, ZoneId
from csnode.uuids import id_of
from roles.fabric.config import FabricConfig
from roles.fabric.first_password import first_password

ISOLATED = "DefaultIsolatedNetworkOfferingWithSourceNatService"
SERVICES = ("Dhcp", "Dns", SOURCE_NAT, "UserData", "Firewall")
OFFERINGS = (("Small Instance", 1, 500, 512), ("Medium Instance", 1, 1000, 1024))
DISKS = (("Small", 5), ("Medium", 20), ("Large", 100))
OS_TYPES = (
    ("Debian GNU/Linux 12 (64-bit)", "Debian"),
    ("Debian GNU/Linux 11 (64-bit)", "Debian"),
    ("Ubuntu 24.04 LTS", "Ubuntu"),
    ("Ubuntu 22.04 LTS", "Ubuntu"),
    ("Rocky Linux 9", "RockyLinux"),
    ("Other Linux (64-bit)", "Other"),
    ("Other (64-bit)", "Other"),
    ("Windows Server 2022 (64-bit)", "Windows"),
)


class Seed:
    """Ids and rows of what there is from the first day."""

    def __init__(self, cloud: str, config: FabricConfig, state: str) -> None:
        """Make a seed.

        `state` is the folder where the first user's password is kept, if none is configured.
        """
        self._cloud, self._config, self._state = cloud, config, state
        self.zone = ZoneId(self._id("zone", config.zone))
        self.pod = PodId(self._id("pod", config.zone, config.pod))
        self.cluster = self._id("cluster", config.zone, config.pod, config.cluster)

    def _id(self, *names: str) -> str:
        return id_of(self._cloud, *names)

    async def sow(self, store: Store) -> None:
        """Create whatever is missing. What exists is left as it is.

        The user comes last: an api is ready once it knows one, and then shows a whole cloud.
        """
        for rows in (self._choices(), self._places(), self._identity()):
            for row in rows:
                await self._plant(store, row)

    async def _plant(self, store: Store, row: Entity) -> None:
        try:
            await store.get(type(row), row.id)
        except NotFound:
            pass
        else:
            return
        if isinstance(row, User):  # hashing takes a while, so only once
            password = self._config.admin_password or first_password(self._state)
            row = replace(row, password=hashed(password))
        change = store.change()
        change.create(row)
        with suppress(Conflict):  # another fabric was faster
            await change.commit()

    def _identity(self) -> tuple[Entity, ...]:
        at = wall()
        root, admin = DomainId(self._id("domain", "ROOT")), AccountId(self._id("account", "admin"))
        config = self._config
        return (
            Domain(id=root, name="ROOT", path="ROOT", created=at),
            Account(id=admin, name="admin", domain=root, type=AccountType.ROOT_ADMIN, created=at),
            User(
                id=self._id("user", "admin"),
                name="admin",
                account=admin,
                domain=root,
                first_name="Admin",
                last_name="User",
                api_key=config.admin_api_key,
                secret_key=config.admin_secret_key,
                created=at,
            ),
        )

    def _choices(self) -> tuple[Entity, ...]:
        at = wall()
        return (
            *(
                Offering(
                    id=self._id("offering", name),
                    name=name,
                    display_text=name,
                    cpus=cpus,
                    cpu_mhz=mhz,
                    memory_mib=memory,
                    created=at,
                )
                for name, cpus, mhz, memory in OFFERINGS
            ),
            *(
                DiskOffering(
                    id=self._id("disk", name),
                    name=name,
                    display_text=f"{name} Disk, {gib} GB",
                    gib=gib,
                    created=at,
                )
                for name, gib in DISKS
            ),
            DiskOffering(
                id=self._id("disk", "Custom"),
                name="Custom",
                display_text="Custom Disk",
                custom=True,
                created=at,
            ),
            NetworkOffering(
                id=self._id("network_offering", ISOLATED),
                name=ISOLATED,
                display_text="Offering for Isolated networks with Source Nat service enabled",
                services=SERVICES,
                is_default=True,
                created=at,
            ),
            *(OsType(id=self._id("os", n), name=n, category=c) for n, c in OS_TYPES),
        )

    def _places(self) -> tuple[Entity, ...]:
        at, config = wall(), self._config
        first, last = _span(config)
        return (
            Zone(
                id=self.zone,
                name=config.zone,
                dns1=config.dns1,
                dns2=config.dns2,
                guest_cidr=config.guest_cidr,
                public_cidr=config.public_cidr,
                public_gateway=config.public_gateway,
                created=at,
            ),
            Pod(id=self.pod, zone=self.zone, name=config.pod, created=at),
            Cluster(id=self.cluster, zone=self.zone, pod=self.pod, name=config.cluster, created=at),
            Range(id=VM_NUMBERS, low=1, high=(1 << 31) - 1),
            Range(id=vnis(self.zone), low=config.vni_first, high=config.vni_last),
            Range(id=public_addresses(self.zone), low=first, high=last, form=RangeForm.IPV4),
        )


def _span(config: FabricConfig) -> tuple[int, int]:
    """Return the public range; Invalid if an address of the section is none a zone can have."""
    try:
        prefix = rules.public_range(config.public_cidr, config.public_gateway)
        first = rules.host_in(config.public_first, prefix, "public_first")
        last = rules.host_in(config.public_last, prefix, "public_last")
        guest = rules.ipv4_network(config.guest_cidr, "guest_cidr")
        rules.guest_network(config.guest_cidr, str(guest.network_address + 1))
        rules.check_apart(guest, prefix)
        for name in ("dns1", "dns2"):
            if server := getattr(config, name):
                rules.dns_server(server, name)
    except Invalid as invalid:
        raise Invalid(f"[fabric] {invalid.message}") from invalid
    gateway = ipaddress.IPv4Address(config.public_gateway)
    if first > last:
        raise Invalid("[fabric] public_first lies behind public_last")
    if first <= gateway <= last:
        raise Invalid(f"[fabric] public_gateway {gateway} lies among the addresses to give away")
    return int(first), int(last)
