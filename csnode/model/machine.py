"""What components are told of a machine, a network and a disk: values, complete in themselves.

Each says all there is to make, on ids that csnode chose, so a component needs no other source
and asking twice is asking once.
"""

from __future__ import annotations

from csnode.types import (
    AccountId,
    HostId,
    Message,
    NetworkId,
    NicId,
    PoolId,
    Power,
    TemplateId,
    VmId,
    VolumeId,
)


class Disk(Message):
    """A disk, as the hypervisor opens it."""

    volume: VolumeId
    path: str
    format: str = "qcow2"
    device: int = 0
    shared: bool = False  # several hosts may open it, one after the other


class Plug(Message):
    """A card, and the bridge of the host that it is plugged into."""

    nic: NicId
    mac: str
    bridge: str
    mtu: int = 1450


class Domain(Message):
    """All it takes to run a machine."""

    vm: VmId
    name: str  # the instance name, i-2-1-VM
    title: str  # the name its owner gave it
    cpus: int
    cpu_mhz: int
    memory_mib: int
    disks: tuple[Disk, ...]
    plugs: tuple[Plug, ...]
    limit_cpu: bool = False


class Landing(Message):
    """What a host that is to receive a machine says of its own place for it."""

    console: str = ""  # the file that the serial console is logged in there


class Move(Message):
    """A running machine's way to another host."""

    domain: Domain  # as that host is to have it: its disks and bridges there
    host: HostId  # where it goes
    address: str  # of that host
    copied: tuple[VolumeId, ...] = ()  # disks whose bytes go along; the others, both hosts reach
    landing: Landing = Landing()


class HostFacts(Message):
    """What a hypervisor host is."""

    name: str
    address: str
    hypervisor: str  # KVM or Simulator, as listHosts shows it
    cpus: int
    cpu_mhz: int
    memory_mib: int
    version: str = ""


class GuestNetwork(Message):
    """A guest network and its router, complete."""

    network: NetworkId
    name: str
    vni: int
    cidr: str
    gateway: str
    domain: str  # DNS suffix of its machines
    dns: tuple[str, ...] = ()
    public_address: str = ""  # source NAT; "": none
    public_cidr: str = ""  # the public range's prefix, for example 198.51.100.0/24
    public_gateway: str = ""


class GuestNic(Message):
    """A card's place in its network: lease, name and metadata."""

    nic: NicId
    network: NetworkId
    vm: VmId
    mac: str
    address: str
    hostname: str
    metadata: dict[str, str] = {}  # file name under /latest/meta-data/ to its text
    user_data: bytes = b""


class Image(Message):
    """A template, and where it is fetched from."""

    template: TemplateId
    url: str  # http://, https:// or file://
    format: str  # QCOW2 or RAW, as registerTemplate takes it
    checksum: str = ""
    account: AccountId | None = None  # whose turn it takes to download


class ImageFacts(Message):
    """What a fetched image turned out to be; sizes in bytes."""

    size: int  # as a machine sees it
    physical_size: int  # on disk
    format: str = "qcow2"


class Clone(Message):
    """A volume to make: a linked clone of an image, or empty."""

    volume: VolumeId
    size: int  # bytes; at least the image's
    image: Image | None = None


class PoolFacts(Message):
    """What a pool is; sizes in bytes. `address` is the HostId of the one host that reaches it.

    It is empty if several do.
    """

    pool: PoolId
    name: str
    type: str
    path: str
    address: str
    total_bytes: int
    used_bytes: int


class Holdings(Message):
    """What a pool really holds."""

    volumes: tuple[VolumeId, ...]
    templates: tuple[TemplateId, ...]
    aside: tuple[str, ...] = ()  # files set aside because nobody knew them, by name


class FoundDomain(Message):
    """A domain as its host has it."""

    vm: VmId
    power: Power
    disks: tuple[str, ...] = ()  # paths, in the order of the devices
    macs: tuple[str, ...] = ()  # of its cards, in lower case


class FoundNic(Message):
    """A card as a router knows it."""

    nic: NicId
    vm: VmId
    mac: str
    address: str


class FoundNetwork(Message):
    """A guest network as a host has it."""

    network: NetworkId
    told: GuestNetwork | None = None  # what its router here was told; None: only a bridge is here
    nics: tuple[FoundNic, ...] = ()  # the cards its router knows
    trouble: str = ""  # what of the router does not work as told; "": all of it works
    plugged: int = 0  # machines' cards on its bridge
    mtu: int = 0  # of its bridge; 0: it has none, or that was not looked at
    blocked: str = ""  # what of this host keeps packets of its guests from passing; "": nothing
