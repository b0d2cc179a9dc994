"""A real machine's start: one API call against qemu-img and virsh typed by hand.

Both end when libvirt says that the domain has started. The one made by hand has the same XML
(another name, disk and address), its bridge stands already, and no router serves its address.
The disk is blank, so that guests at work do not blur the figures. Rounds alternate.
"""

from __future__ import annotations

import asyncio
import shutil
import subprocess
import sys
import time
from asyncio.subprocess import DEVNULL, PIPE
from collections.abc import AsyncGenerator
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path
from xml.etree import ElementTree

from csnode.uuids import new_id
from tests.bench.client import Api, Ready, networks, prepare
from tests.bench.figure import Figure, measured, median
from tests.contract.libvirtd import PrivateLibvirtd
from tests.contract.netlab import Lab
from tests.system.processes import Cloud

ROUNDS = 9
NEEDED = ("libvirtd", "virsh", "qemu-img", "qemu-system-x86_64", "dnsmasq", "nft")


async def measure() -> list[Figure]:
    name = "real VM start, to qemu-img + virsh by hand"
    if missing := [tool for tool in NEEDED if shutil.which(tool) is None]:
        return [Figure(name=name, value=None, beside=f"this machine has no {', '.join(missing)}")]
    async with _cloud() as (cloud, libvirtd, folder), Api(cloud.url) as api:
        await asyncio.to_thread(cloud.wait_ready)
        image = folder / "blank.qcow2"
        await _run("qemu-img", "create", "-q", "-f", "qcow2", image, "64M")
        ready = await prepare(api, 1, f"file://{image}", memory_mib=64)
        ready["networkids"] = (await networks(api, ready["zoneid"], 1))[0]
        starts = [await _round(api, ready, libvirtd, folder) for _ in range(ROUNDS + 1)][1:]
    ratio = median([api_s / hand_s for api_s, hand_s, _ in starts])
    ours, theirs, jobs = (median(times) * 1000 for times in zip(*starts, strict=True))
    note = f"median of {ROUNDS}: {ours:.0f} ms against {theirs:.0f} ms; job done at {jobs:.0f} ms"
    return [measured(name, ratio, "x", 1.15, beside=note)]


@asynccontextmanager
async def _cloud() -> AsyncGenerator[tuple[Cloud, PrivateLibvirtd, Path]]:
    """Everything real, and nothing of it left at the end, however that comes."""
    async with AsyncExitStack() as stack:
        lab = Lab()
        stack.push_async_callback(lab.close)
        libvirtd = stack.enter_context(PrivateLibvirtd())
        cloud = Cloud(
            lab.folder,
            compute={"driver": "libvirt", "options": {"uri": libvirtd.uri}},
            network={"driver": "linux", "options": {"names": lab.names}},
            storage={"driver": "dir", "options": {"file_roots": [str(lab.folder)]}},
            fabric={
                "public_cidr": "198.18.7.0/24",
                "public_gateway": "198.18.7.1",
                "public_first": "198.18.7.10",
                "public_last": "198.18.7.250",
            },
        )
        (lab.folder / "state").mkdir(mode=0o711)  # dnsmasq's user has to pass
        stack.enter_context(cloud)
        stack.callback(libvirtd.clear)
        cloud.start()
        try:
            yield cloud, libvirtd, lab.folder
        except BaseException:
            print(cloud.log("all")[-3000:], file=sys.stderr)
            raise


async def _round(
    api: Api, ready: Ready, libvirtd: PrivateLibvirtd, folder: Path
) -> tuple[float, float, float]:
    """Seconds until the domain has started, by the API and by hand; and until the job ended."""
    async with _started(libvirtd) as started:
        began = time.perf_counter()
        answer = await api.call("deployVirtualMachine", **ready)
        starting = asyncio.create_task(started())
        await api.settle(answer["jobid"])
        job_s = time.perf_counter() - began
        by_api = await starting - began
    xml = await _run("virsh", "-c", libvirtd.uri, "dumpxml", "--inactive", answer["id"])
    disk, file = folder / f"hand-{new_id()}.qcow2", folder / "hand.xml"
    template, name = _by_hand(xml, disk, file)
    async with _started(libvirtd) as started:
        began = time.perf_counter()
        over = ("-b", template, "-F", "qcow2")
        await _run("qemu-img", "create", "-q", "-f", "qcow2", *over, disk)
        await _run("virsh", "-q", "-c", libvirtd.uri, "define", file)
        starting = asyncio.create_task(_run("virsh", "-q", "-c", libvirtd.uri, "start", name))
        by_hand = await started() - began
        await starting
    for verb in ("destroy", "undefine"):
        await _run("virsh", "-q", "-c", libvirtd.uri, verb, name)
    disk.unlink()
    gone = await api.call("destroyVirtualMachine", id=answer["id"], expunge="true")
    await api.settle(gone["jobid"])
    return by_api, by_hand, job_s


def _by_hand(xml: str, disk: Path, file: Path) -> tuple[str, str]:
    """Write the same domain with another identity; answers its template and its name."""
    domain = ElementTree.fromstring(xml)
    name = f"hand-{disk.stem[-12:]}"
    for path, text in (("name", name), ("uuid", new_id())):
        element = domain.find(path)
        assert element is not None
        element.text = text
    if (metadata := domain.find("metadata")) is not None:
        domain.remove(metadata)
    source = domain.find("devices/disk/source")
    assert source is not None
    template = _backing_of(source.attrib["file"])
    source.set("file", str(disk))
    for log in domain.iterfind("devices/*/log"):
        log.set("file", f"{disk}.log")
    for card in domain.iterfind("devices/interface"):
        for target in card.findall("target"):
            card.remove(target)
        for mac in card.findall("mac"):
            mac.set("address", "02:aa:bb:cc:dd:ee")
    file.write_text(ElementTree.tostring(domain, encoding="unicode"))
    return template, name


def _backing_of(volume: str) -> str:
    told = subprocess.run(
        ["qemu-img", "info", "-U", volume], check=True, capture_output=True, text=True
    )
    lines = (line.partition(": ") for line in told.stdout.splitlines())
    return next(value for key, _, value in lines if key == "backing file")


@asynccontextmanager
async def _started(libvirtd: PrivateLibvirtd) -> AsyncGenerator[_Started]:
    """Listens to libvirt; call what it yields for the time at which a domain starts."""
    listening = await asyncio.create_subprocess_exec(
        *("stdbuf", "-oL", "virsh", "-c", libvirtd.uri),
        *("event", "--event", "lifecycle", "--loop"),
        stdin=DEVNULL, stdout=PIPE,
    )  # fmt: skip
    try:
        await asyncio.sleep(0.3)  # it registers in far less, and says nothing when it has
        yield _Started(listening)
    finally:
        listening.terminate()
        await listening.wait()


class _Started:
    def __init__(self, listening: asyncio.subprocess.Process) -> None:
        assert listening.stdout is not None
        self._lines = listening.stdout

    async def __call__(self) -> float:
        async with asyncio.timeout(60):
            while line := await self._lines.readline():
                if b"Started" in line:
                    return time.perf_counter()
        raise RuntimeError("virsh event ended")


async def _run(*command: object) -> str:
    words = [str(word) for word in command]
    process = await asyncio.create_subprocess_exec(*words, stdin=DEVNULL, stdout=PIPE, stderr=PIPE)
    out, complaint = await process.communicate()
    if process.returncode:
        raise RuntimeError(f"{' '.join(words)}: {complaint.decode()}")
    return out.decode()
