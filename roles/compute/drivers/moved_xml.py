"""A running machine's XML as another host is to have it. Pure: text from text.

libvirt compares both: what the guest can see must be the same, device by device, so the source's
own XML is changed only where hosts differ (files, bridges, the console's log).
"""

from __future__ import annotations

from xml.etree.ElementTree import Element, fromstring, tostring

from csnode.model.machine import Disk, Move
from csnode.types import VolumeId
from roles.compute.drivers.domain_xml import device_name


def moved_xml(xml: str, move: Move) -> str:
    """Return the machine's definition there; `xml` is what libvirt says of it at its source."""
    root = fromstring(xml)
    disks = _disks(move)
    for element in root.iterfind("devices/disk[@device='disk']"):
        _change(element, "source", "file", disks[_target(element)].path)
        for chain in element.findall("backingStore"):
            element.remove(chain)  # the source's; the target looks for itself
    bridges = {plug.mac.lower(): plug.bridge for plug in move.domain.plugs}
    for element in root.iterfind("devices/interface"):
        mac = element.find("mac")
        bridge = bridges.get("" if mac is None else mac.get("address", "").lower(), "")
        _change(element, "source", "bridge", bridge)
        for tap in element.findall("target"):
            element.remove(tap)  # the name of a tap there is the target's to choose
    for kind in ("serial", "console"):
        for element in root.iterfind(f"devices/{kind}"):
            _change(element, "log", "file", move.landing.console)
    return tostring(root, encoding="unicode")


def devices_of(volumes: tuple[VolumeId, ...], move: Move) -> list[str]:
    """Return what the guest's disks of these volumes are called: vda, vdb ..."""
    return sorted(name for name, disk in _disks(move).items() if disk.volume in volumes)


def _disks(move: Move) -> dict[str, Disk]:
    return {device_name(disk.device): disk for disk in move.domain.disks}


def _target(disk: Element) -> str:
    target = disk.find("target")
    return "" if target is None else target.get("dev", "")


def _change(element: Element, child: str, name: str, value: str) -> None:
    found = element.find(child)
    if found is not None and value:
        found.set(name, value)
