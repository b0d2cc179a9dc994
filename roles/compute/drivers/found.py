"""A machine as libvirt describes it, read back from its XML. Pure: a value from text."""

from __future__ import annotations

from xml.etree.ElementTree import Element, fromstring

from csnode.model.machine import FoundDomain
from csnode.types import Power, VmId


def found_domain(xml: str, *, on: bool) -> FoundDomain:
    """Return the machine's id, its disks' files by rising device, and its cards' addresses."""
    root = fromstring(xml)
    disks = sorted(root.iterfind("devices/disk[@device='disk']"), key=_device)
    return FoundDomain(
        vm=VmId(root.findtext("uuid", "")),
        power=Power.ON if on else Power.OFF,
        disks=tuple(_attribute(disk, "source", "file") for disk in disks),
        macs=tuple(
            _attribute(nic, "mac", "address").lower() for nic in root.iterfind("devices/interface")
        ),
    )


def _device(disk: Element) -> tuple[int, str]:
    """Sort devices: vdb comes before vdaa."""
    name = _attribute(disk, "target", "dev")
    return len(name), name


def _attribute(element: Element, child: str, name: str) -> str:
    found = element.find(child)
    return "" if found is None else found.get(name, "")
