"""roles.compute.drivers.domain_xml: what libvirt is told of a machine."""

from __future__ import annotations

from pathlib import Path
from typing import Any
from xml.etree.ElementTree import Element, fromstring

import pytest
from hypothesis import given
from hypothesis import strategies as st
from msgspec.structs import replace

from csnode.faults import Invalid
from csnode.model.machine import Disk, Domain, Plug
from csnode.types import NicId, VmId, VolumeId
from roles.compute.drivers import host_facts
from roles.compute.drivers.domain_xml import NAMESPACE, SPARE_PORTS, domain_xml

VM = VmId("6a3c0b5e-1d9f-4d8a-8f52-0c7e9a1b2c3d")
DISK = Disk(volume=VolumeId("0d4b7a10-55aa-4c11-9a55-2f9f3f7f8a01"), path="/pool/root.qcow2")
PLUG = Plug(nic=NicId("n1"), mac="02:00:0a:01:01:02", bridge="csbr100")
MACHINE = Domain(
    vm=VM,
    name="i-2-7-VM",
    title="web",
    cpus=2,
    cpu_mhz=500,
    memory_mib=256,
    disks=(DISK,),
    plugs=(PLUG,),
)
ATTACKS = (
    "</title><devices><emulator>/bin/sh</emulator></devices><title>",
    "\"'><x a='",
    "]]><!-- & &amp; &lt; <?xml?> <!DOCTYPE a [<!ENTITY b SYSTEM 'file:///etc/shadow'>]>",
    "a\nb\r\nc\td",
    "\x00\x01\x1f\x7f\ufffe\ud800",
    "; rm -rf / $(id) `id`",
    "-leading",
    "\u202egnp.exe",
    "x" * 65536,
)


def xml_of(domain: Domain, *, kvm: bool = False, log: str = "/state/c.console") -> Element:
    return fromstring(domain_xml(domain, kvm=kvm, host_mhz=2000, log=log))


def text(tree: Element, path: str) -> str:
    found = tree.find(path)
    assert found is not None, path
    return found.text or ""


def shape(element: Element) -> Any:
    return element.tag, sorted(element.attrib), [shape(child) for child in element]


def test_the_definition_says_what_was_asked_for() -> None:
    tree = xml_of(MACHINE)
    assert text(tree, "uuid") == VM
    assert text(tree, "name") == "i-2-7-VM"
    assert text(tree, "memory") == "256"
    assert text(tree, "vcpu") == "2"
    disk, nic = tree.find("devices/disk"), tree.find("devices/interface")
    assert disk is not None
    assert nic is not None
    assert disk.find("source[@file='/pool/root.qcow2']") is not None
    assert disk.find("target[@dev='vda'][@bus='virtio']") is not None
    assert nic.find("mac[@address='02:00:0a:01:01:02']") is not None
    assert nic.find("source[@bridge='csbr100']") is not None
    assert nic.find("mtu[@size='1450']") is not None
    assert tree.find("devices/serial/log[@file='/state/c.console']") is not None


def test_the_domain_is_marked_as_ours() -> None:
    assert text(xml_of(MACHINE), f"metadata/{{{NAMESPACE}}}vm") == VM


def test_cloud_init_finds_cloudstack_in_the_product_name() -> None:
    entry = text(xml_of(MACHINE), "sysinfo/system/entry[@name='product']")
    assert entry == "CloudStack KVM Hypervisor"


def test_only_an_emulated_machine_has_a_translation_cache() -> None:
    emulated, real = xml_of(MACHINE), xml_of(MACHINE, kvm=True)
    assert (emulated.get("type"), real.get("type")) == ("qemu", "kvm")
    assert emulated.find("features/tcg/tb-cache") is not None
    assert real.find("features/tcg") is None


def test_root_ports_are_left_for_later_devices() -> None:
    tree = xml_of(MACHINE)
    ports = tree.findall("devices/controller[@model='pcie-root-port']")
    taken = 4  # a disk, a card, the balloon, the random numbers
    assert len(ports) == taken + SPARE_PORTS


@pytest.mark.parametrize(("device", "name"), [(0, "vda"), (25, "vdz"), (26, "vdaa"), (52, "vdba")])
def test_devices_are_named_in_order(device: int, name: str) -> None:
    tree = xml_of(replace(MACHINE, disks=(replace(DISK, device=device),)))
    assert tree.find(f"devices/disk/target[@dev='{name}']") is not None


def test_a_limited_cpu_gets_its_share_of_the_hosts_clock() -> None:
    assert xml_of(MACHINE).find("cputune") is None
    limited = xml_of(replace(MACHINE, limit_cpu=True))
    assert text(limited, "cputune/quota") == "25000"  # 500 MHz of 2000, in each 100,000 us


@pytest.mark.parametrize("title", ATTACKS)
def test_a_title_stays_text(title: str) -> None:
    tree = xml_of(replace(MACHINE, title=title))
    assert shape(tree) == shape(xml_of(MACHINE))
    assert "\n" not in text(tree, "title")
    assert 0 < len(text(tree, "title")) <= 255


@given(st.text(max_size=300))
def test_any_title_gives_the_same_shape(title: str) -> None:
    assert shape(xml_of(replace(MACHINE, title=title))) == shape(xml_of(MACHINE))


@pytest.mark.parametrize("value", [*ATTACKS, "", "a/b", "../../x", " "])
@pytest.mark.parametrize("field", ["vm", "name", "mac", "bridge", "format"])
def test_what_is_not_free_text_must_have_its_form(field: str, value: str) -> None:
    wrong = {
        "vm": lambda: replace(MACHINE, vm=VmId(value)),
        "name": lambda: replace(MACHINE, name=value),
        "mac": lambda: replace(MACHINE, plugs=(replace(PLUG, mac=value),)),
        "bridge": lambda: replace(MACHINE, plugs=(replace(PLUG, bridge=value),)),
        "format": lambda: replace(MACHINE, disks=(replace(DISK, format=value),)),
    }[field]()
    with pytest.raises(Invalid) as raised:
        xml_of(wrong)
    assert len(raised.value.message) < 500


@pytest.mark.parametrize("path", ["relative", "", "/a\nb", "/a\x00b", "-c /x", "/a\ud800"])
def test_a_path_is_absolute_and_on_one_line(path: str) -> None:
    with pytest.raises(Invalid):
        xml_of(replace(MACHINE, disks=(replace(DISK, path=path),)))
    with pytest.raises(Invalid):
        xml_of(MACHINE, log=path)


def test_a_path_may_hold_what_markup_is_made_of() -> None:
    odd = "/pool/a'b\"c<d>&,e.qcow2"
    tree = xml_of(replace(MACHINE, disks=(replace(DISK, path=odd),)))
    source = tree.find("devices/disk/source")
    assert source is not None
    assert source.get("file") == odd


@pytest.mark.parametrize("field", ["cpus", "memory_mib"])
def test_a_machine_has_at_least_something(field: str) -> None:
    with pytest.raises(Invalid):
        xml_of(replace(MACHINE, **{field: 0}))


@pytest.mark.parametrize(
    ("flags", "device", "usable"),
    [
        ("fpu vmx", True, True),
        ("svm", True, True),
        ("fpu vmmcall", True, False),
        ("vmx", False, False),
    ],
)
def test_kvm_needs_the_flag_and_the_device(
    tmp_path: Path, flags: str, device: bool, usable: bool
) -> None:
    (tmp_path / "cpuinfo").write_text(f"processor\t: 0\nflags\t\t: {flags}\nbugs\t\t: svm\n")
    if device:
        (tmp_path / "kvm").touch()
    assert host_facts.kvm_usable(tmp_path, tmp_path / "kvm") is usable


def test_memory_and_clock_are_read_from_proc(tmp_path: Path) -> None:
    (tmp_path / "meminfo").write_text("MemTotal:       25165824 kB\nMemFree: 1 kB\n")
    (tmp_path / "cpuinfo").write_text("processor : 0\ncpu MHz\t\t: 2596.120\n")
    assert host_facts.memory_mib(tmp_path) == 24576
    assert host_facts.cpu_mhz(tmp_path) == 2596
    (tmp_path / "cpuinfo").write_text("processor : 0\n")
    assert host_facts.cpu_mhz(tmp_path) == 0


@pytest.mark.parametrize(
    "wrong",
    [
        {"cpus": 256},
        {"memory_mib": 31},
        {"plugs": (PLUG,) * 33},
        {"plugs": (replace(PLUG, mac="01:00:5e:00:00:01"),)},
        {"plugs": (replace(PLUG, mac="00:00:00:00:00:00"),)},
        {"plugs": (replace(PLUG, mac="fe:00:00:00:00:01"),)},
    ],
)
def test_a_machine_that_no_host_can_run_is_refused(wrong: dict[str, Any]) -> None:
    with pytest.raises(Invalid):
        xml_of(replace(MACHINE, **wrong))


def test_a_processor_faster_than_the_hosts_is_not_limited_beyond_a_whole_one() -> None:
    limited = xml_of(replace(MACHINE, limit_cpu=True, cpu_mhz=2**31 - 1))
    assert text(limited, "cputune/quota") == text(limited, "cputune/period")
