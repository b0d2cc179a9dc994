"""What a machine has and lacks for a configuration. Looking changes nothing.

Kernel features are tried out in a network namespace that ends with the trial.
"""

from __future__ import annotations

import asyncio
import os
import shutil
import socket
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, urlsplit

from msgspec.structs import replace

from csnode.config import Config, DirectoryConfig
from csnode.drivers.driver import Driver
from csnode.faults import Fault, Invalid
from csnode.listen import sockets
from csnode.node import known_sections
from csnode.plugins import found, load
from csnode.trust import local
from csnode.trust.files import LOCAL
from csnode.trust.trust import Trust
from csnode.types import Struct

PATH = os.pathsep.join([os.environ.get("PATH", ""), "/usr/sbin", "/sbin"])
GROUPS = {
    "compute": "hypervisor",
    "network": "network",
    "storage": "storage",
    "keeper": "prober",
}
TRIALS = {
    "bridges": "ip link add probe type bridge",
    "virtual links": "ip link add probe type veth peer name other",
    "VXLAN": "ip link add probe type vxlan id 7 dstport 4789",
    "nftables with NAT": "nft add table ip probe && "
    "nft add chain ip probe out '{ type nat hook postrouting priority 100; }'",
}


class Finding(Struct):
    """One thing looked at: `good` says how it is, `lack` what is missing, `warn` what a node starts
    without and should not run without; `remedy` what to do.
    """

    part: str = ""
    good: str = ""
    lack: str = ""
    warn: str = ""
    remedy: str = ""


class Tool(Struct):
    """A program, and the Debian package that has it."""

    name: str
    package: str


def examine(config: Config) -> list[Finding]:
    """Examine everything the configured roles need of this machine."""
    found_out = [_folder(config), _trust(config), _interface(config), *_ports(config)]
    for role in config.node.roles or tuple(found("roles")):
        section: Any = config.section(role, known_sections()[role])
        found_out += _examined(role, section)
        if driver := getattr(section, "driver", ""):
            found_out += _driver(role, driver, section.options)
    return found_out


def _examined(role: str, section: Any) -> Iterator[Finding]:
    """Yield what a role that looks for itself finds (`Role.examined`)."""
    if look := getattr(load("roles", role), "examined", None):
        for finding in asyncio.run(look(section)):
            yield Finding(part=f"[{role}]", **finding)


def _driver(role: str, name: str, options: dict[str, Any]) -> Iterator[Finding]:
    part = f"[{role}] driver {name}"
    group = GROUPS.get(role, role)
    try:
        kind = load(f"drivers.{group}", name)
    except Invalid as unknown:
        yield Finding(part=part, lack=unknown.message, remedy="install the package that has it")
        return
    except ImportError as error:
        remedy = f"pip install 'csnode[{name}]'" if name == "libvirt" else ""
        yield Finding(part=part, lack=f"it cannot be loaded: {error}", remedy=remedy)
        return
    needs = NEEDS.get(f"{group}/{name}")
    yield Finding(part=part, good="installed")
    lacking = False
    for finding in needs(options) if needs else ():
        lacking = lacking or bool(finding.lack)
        yield replace(finding, part=part)
    if needs and not lacking:
        yield from (replace(finding, part=part) for finding in _tried(kind, options))


def _tried(kind: type[Driver], options: dict[str, Any]) -> Iterator[Finding]:
    """Yield what the driver's own trial shows."""
    try:
        trials = asyncio.run(kind.tried(options))
    except (Fault, OSError) as error:
        yield Finding(lack=f"it cannot be tried out: {error}")
        return
    for what, trouble in trials.items():
        head, _, remedy = trouble.partition("; ")
        yield Finding(lack=head, remedy=remedy) if trouble else Finding(good=what)


def _libvirt(options: dict[str, Any]) -> Iterator[Finding]:
    yield _tools(Tool(name="qemu-system-x86_64", package="qemu-system-x86"))
    yield _root("machines are run by the system's libvirtd")
    yield _libvirtd(str(options.get("uri", "qemu:///system")))
    yield Finding(good=_accelerator())


def _linux(options: dict[str, Any]) -> Iterator[Finding]:
    del options
    tools = _tools(
        Tool(name="ip", package="iproute2"),
        Tool(name="nft", package="nftables"),
        Tool(name="dnsmasq", package="dnsmasq-base"),
        Tool(name="nsenter", package="util-linux"),
    )
    yield tools
    yield _root("bridges and network namespaces are made")
    if os.geteuid() == 0 and not tools.lack:
        yield _kernel()


def _dir(options: dict[str, Any]) -> Iterator[Finding]:
    yield _tools(Tool(name="qemu-img", package="qemu-utils"))
    for root in options.get("file_roots", ()):
        if not Path(root).is_dir():
            yield Finding(lack=f"file_roots: there is no folder {root}")


NEEDS: dict[str, Callable[[dict[str, Any]], Iterator[Finding]]] = {
    "hypervisor/libvirt": _libvirt,
    "network/linux": _linux,
    "storage/dir": _dir,
}


def _tools(*tools: Tool) -> Finding:
    missing = [t for t in tools if shutil.which(t.name, path=PATH) is None]
    if not missing:
        return Finding(good=f"{', '.join(t.name for t in tools)} found")
    packages = " ".join(sorted({t.package for t in missing}))
    return Finding(
        lack=f"{', '.join(t.name for t in missing)} not found",
        remedy=f"apt-get install --no-install-recommends {packages}",
    )


def _root(why: str) -> Finding:
    if os.geteuid() == 0:
        return Finding(good="we are root")
    return Finding(lack=f"we are not root, and {why}", remedy="run csnode as root")


def _kernel() -> Finding:
    failed = [
        name for name, trial in TRIALS.items() if not _works("unshare", "-n", "sh", "-c", trial)
    ]
    if not failed:
        return Finding(good=f"the kernel has {', '.join(TRIALS)}")
    return Finding(
        lack=f"the kernel lacks {', '.join(failed)}",
        remedy="modprobe bridge veth vxlan nft_chain_nat, or a kernel with these modules",
    )


def _works(*command: str) -> bool:
    try:
        done = subprocess.run(
            command, capture_output=True, timeout=10, check=False, env={**os.environ, "PATH": PATH}
        )
    except (OSError, subprocess.TimeoutExpired):
        return False
    return done.returncode == 0


def _libvirtd(uri: str) -> Finding:
    """Knock at libvirtd's socket; a libvirtd elsewhere is taken on trust."""
    parts = urlsplit(uri)
    if parts.scheme not in ("qemu", "qemu+unix") or parts.netloc:
        return Finding(good=f"libvirtd at {uri}: not looked at, it is not on this machine")
    query = parse_qs(parts.query)
    path = query.get("socket", ["/run/libvirt/libvirt-sock"])[0]
    with socket.socket(socket.AF_UNIX) as knocking:
        try:
            knocking.connect(path)
        except OSError as error:
            return Finding(
                lack=f"no libvirtd answers at {path}: {error.strerror}",
                remedy="apt-get install libvirt-daemon-system, then systemctl start libvirtd, or "
                "libvirtd -d; to try csnode out: config/libvirt/serve.sh",
            )
    return Finding(good=f"libvirtd answers at {path}")


def _accelerator() -> str:
    flags = Path("/proc/cpuinfo").read_text()
    if Path("/dev/kvm").exists() and (" vmx" in flags or " svm" in flags):
        return "machines run on KVM"
    return "machines are emulated (TCG): the processor does not show vmx or svm, so no KVM"


def _folder(config: Config) -> Finding:
    folder = Path(config.node.state)
    there = next(p for p in (folder.absolute(), *folder.absolute().parents) if p.exists())
    if there.is_dir() and os.access(there, os.W_OK):
        free = shutil.disk_usage(there).free / 2**30
        return Finding(part="[node] state", good=f"{folder}: {free:.0f} GiB free")
    return Finding(
        part="[node] state",
        lack=f"cannot write to {there}",
        remedy="choose another folder, or run csnode as its owner",
    )


def _trust(config: Config) -> Finding:
    """Say who may join this machine's processes."""
    part, folder = "[trust]", local.folder_of(config)
    try:
        if Trust.of(config) is not None:
            return Finding(part=part, good=f"a credential and its keys are in {folder}")
        key = local.chosen(config, plays=False)
    except Fault as fault:
        return Finding(part=part, lack=fault.message, remedy="see README, Many machines")
    if key is None:
        return Finding(
            part=part,
            lack="without credential or key, every user of this machine may join and change all",
            remedy='set [trust] loopback = "key" and start all processes again, if none is older',
        )
    if (folder / LOCAL).exists():
        return Finding(part=part, good=f"{folder / LOCAL} keeps other users of this machine out")
    return Finding(part=part, good=f"the first start makes a key in {folder}")


def _interface(config: Config) -> Finding:
    directory = config.section("directory", DirectoryConfig)
    names = [name for _, name in socket.if_nameindex()]
    part = f"[directory] kind {directory.kind}"
    if directory.kind != "multicast":
        return Finding(part=part, good="needs nothing of this machine")
    if directory.interface in names:
        return Finding(part=part, good=f"interface {directory.interface} is there")
    return Finding(
        part=part,
        lack=f"there is no interface {directory.interface}",
        remedy=f"choose one of {', '.join(names)}",
    )


def _ports(config: Config) -> Iterator[Finding]:
    """Yield every `listen` with a port, of the roles played here."""
    roles = config.node.roles or tuple(found("roles"))
    for name in ("health", *roles):
        listen: Any = getattr(config.section(name, known_sections()[name]), "listen", "")
        if listen:
            yield _port(name, listen)


def _port(section: str, listen: str | tuple[str, ...]) -> Finding:
    part = f"[{section}] listen"
    try:
        for probe in sockets(section, listen):
            probe.close()
    except Invalid as invalid:
        lack = invalid.message.removeprefix(f"{part}: ").removeprefix("cannot serve at ")
        remedy = "choose another one, or end what listens there (ss -ltnp)"
        return Finding(part=part, lack=lack, remedy=remedy)
    shown = listen if isinstance(listen, str) else ", ".join(listen)
    return Finding(part=part, good=f"{shown} is free")
