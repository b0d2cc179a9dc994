"""A Domain as libvirt's XML (https://libvirt.org/formatdomain.html). Pure: text from values.

The document is built as a tree, so whatever a name holds is escaped; what XML cannot hold at all
(control characters) is dropped from titles and refused everywhere else.
"""

from __future__ import annotations

import re
from xml.etree.ElementTree import Element, SubElement, tostring

from csnode.faults import Invalid
from csnode.model import rules
from csnode.model.machine import Disk, Domain, Plug

NAMESPACE = "urn:csnode:domain:1"  # of the metadata that marks a machine as csnode's
SPARE_PORTS = 4  # q35 plugs a device into a running machine only where a root port is free
TB_CACHE_MIB = 32  # qemu's own choice would add some 100 MB to each emulated machine
_OWN_DEVICES = 2  # the balloon and the source of random numbers take a root port each
_TITLE_MAX = 255

_UUID = re.compile(r"[0-9a-fA-F]{8}(-[0-9a-fA-F]{4}){3}-[0-9a-fA-F]{12}")
_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,62}")
_BRIDGE = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,14}")  # IFNAMSIZ is 16, with the final zero
_PATH = re.compile(r"/[^\x00-\x1f\x7f\ud800-\udfff\ufffe\uffff]*")
_FORMAT = re.compile("qcow2|raw")
_NOT_IN_A_TITLE = re.compile(r"[\x00-\x1f\x7f-\x9f\ud800-\udfff\ufffe\uffff]+")


def domain_xml(domain: Domain, *, kvm: bool, host_mhz: int, log: str) -> str:
    """Define a domain whose serial console is written to the file `log`.

    Raises Invalid for a value that libvirt or qemu could take for something else.
    """
    _check(domain, log)
    root = Element("domain", type="kvm" if kvm else "qemu")
    _text(root, "name", domain.name)
    _text(root, "uuid", domain.vm)
    _text(root, "title", _title(domain))
    _text(SubElement(root, "metadata"), f"{{{NAMESPACE}}}vm", domain.vm)
    _text(root, "memory", str(domain.memory_mib), unit="MiB")
    _text(root, "vcpu", str(domain.cpus))
    if domain.limit_cpu:
        _limit(root, domain, host_mhz)
    _firmware(root)
    if kvm:
        SubElement(root, "cpu", mode="host-model")
    features = SubElement(root, "features")
    SubElement(features, "acpi")
    if not kvm:
        _text(SubElement(features, "tcg"), "tb-cache", str(TB_CACHE_MIB), unit="MiB")
    for event, action in (("poweroff", "destroy"), ("reboot", "restart"), ("crash", "destroy")):
        _text(root, f"on_{event}", action)
    _devices(SubElement(root, "devices"), domain, log)
    return tostring(root, encoding="unicode")


def check_shape(domain: Domain) -> None:
    """Check what every hypervisor asks of a machine: its size, and its cards."""
    name = f"machine {domain.name}:"
    rules.cpus(domain.cpus, f"{name} CPUs")
    rules.cpu_mhz(domain.cpu_mhz, f"{name} MHz")
    rules.memory_mib(domain.memory_mib, f"{name} MiB of memory")
    rules.check_cards(len(domain.plugs), f"{name} cards")
    for plug in domain.plugs:
        rules.check_mac(plug.mac)


def _check(domain: Domain, log: str) -> None:
    _match(_UUID, domain.vm, "a machine's id")
    _match(_NAME, domain.name, "an instance name")
    _match(_PATH, log, "the path of a console log")
    check_shape(domain)
    for disk in domain.disks:
        _match(_PATH, disk.path, "the path of a disk")
        _match(_FORMAT, disk.format, "a disk format")
    for plug in domain.plugs:
        _match(_BRIDGE, plug.bridge, "the name of a bridge")


def _match(form: re.Pattern[str], value: str, what: str) -> None:
    if not form.fullmatch(value):
        raise Invalid(f"{value[:80]!r} cannot be {what}")


def _title(domain: Domain) -> str:
    """Write a title without line breaks: libvirt refuses them."""
    return _NOT_IN_A_TITLE.sub(" ", domain.title)[:_TITLE_MAX].strip() or domain.name


def _limit(root: Element, domain: Domain, host_mhz: int) -> None:
    """Let each virtual CPU run for its share of a real one's time, and no longer.

    libvirt takes no quota under 1 ms; one above the period would be no limit.
    """
    period_us = 100_000
    share_us = period_us * domain.cpu_mhz // max(host_mhz, 1)
    quota_us = min(max(1_000, share_us), period_us)
    tune = SubElement(root, "cputune")
    _text(tune, "period", str(period_us))
    _text(tune, "quota", str(quota_us))


def _firmware(root: Element) -> None:
    """Name CloudStack as the product.

    cloud-init looks for CloudStack's metadata only where the product name says CloudStack.
    """
    machine = SubElement(root, "os")
    _text(machine, "type", "hvm", arch="x86_64", machine="q35")
    SubElement(machine, "boot", dev="hd")
    SubElement(machine, "smbios", mode="sysinfo")
    system = SubElement(SubElement(root, "sysinfo", type="smbios"), "system")
    _text(system, "entry", "Apache Software Foundation", name="manufacturer")
    _text(system, "entry", "CloudStack KVM Hypervisor", name="product")


def _devices(devices: Element, domain: Domain, log: str) -> None:
    SubElement(devices, "controller", type="pci", index="0", model="pcie-root")
    ports = len(domain.disks) + len(domain.plugs) + _OWN_DEVICES + SPARE_PORTS
    for index in range(1, ports + 1):
        SubElement(devices, "controller", type="pci", index=str(index), model="pcie-root-port")
    SubElement(devices, "controller", type="usb", model="none")
    for disk in domain.disks:
        _disk(devices, disk)
    for plug in domain.plugs:
        _nic(devices, plug)
    serial = SubElement(devices, "serial", type="pty")
    SubElement(serial, "log", file=log, append="on")
    SubElement(serial, "target", port="0")
    console = SubElement(devices, "console", type="pty")
    SubElement(console, "target", type="serial", port="0")
    SubElement(SubElement(devices, "video"), "model", type="none")
    SubElement(devices, "memballoon", model="virtio")
    _text(SubElement(devices, "rng", model="virtio"), "backend", "/dev/urandom", model="random")


def _disk(devices: Element, disk: Disk) -> None:
    element = SubElement(devices, "disk", type="file", device="disk")
    driver = SubElement(element, "driver", name="qemu", type=disk.format, discard="unmap")
    if disk.shared:
        driver.set("cache", "none")  # what one host wrote, the next one reads
    SubElement(element, "source", file=disk.path)
    SubElement(element, "target", dev=device_name(disk.device), bus="virtio")
    serial = re.sub(r"[^A-Za-z0-9]", "", disk.volume)
    _text(element, "serial", serial[:20])  # virtio shows a guest no more


def device_name(number: int) -> str:
    """Name a disk's device: 0 is vda, 25 vdz, 26 vdaa."""
    letters = ""
    number += 1
    while number:
        number, letter = divmod(number - 1, 26)
        letters = chr(ord("a") + letter) + letters
    return f"vd{letters}"


def _nic(devices: Element, plug: Plug) -> None:
    element = SubElement(devices, "interface", type="bridge")
    SubElement(element, "mac", address=plug.mac)
    SubElement(element, "source", bridge=plug.bridge)
    SubElement(element, "model", type="virtio")
    SubElement(element, "mtu", size=str(plug.mtu))
    SubElement(element, "rom", enabled="no")  # or the firmware would try to boot from the network


def _text(parent: Element, tag: str, text: str, **attributes: str) -> None:
    SubElement(parent, tag, attributes).text = text
