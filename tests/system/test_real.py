"""A real guest through every component: libvirt, QEMU, a router in a namespace, a qcow2 clone.

Needs root, QEMU, libvirt, dnsmasq, nftables and the guest image, all of which `make test` brings.
"""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import subprocess
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.contract.libvirtd import PrivateLibvirtd
from tests.system.processes import SPLIT, Cloud, wait_for
from tests.system.test_clients import client

pytestmark = pytest.mark.real
GUEST = Path(__file__).parents[2] / ".cache" / "guest" / "tiny.qcow2"
NAMES = "ct"  # begins the name of every interface and namespace these tests make


def shell(*command: str) -> str:
    done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=120)
    assert done.returncode == 0, f"{command}: {done.stderr}"
    return done.stdout


def outside() -> set[str]:
    """Interfaces and namespaces of these tests."""
    links = {link["ifname"] for link in json.loads(shell("ip", "-j", "link"))}
    spaces = {space["name"] for space in json.loads(shell("ip", "-j", "netns") or "[]")}
    return {name for name in links | spaces if name.startswith(NAMES)}


@pytest.fixture
def folder() -> Iterator[Path]:
    """dnsmasq drops to a user of its own, who may not enter pytest's folders."""
    made = Path(tempfile.mkdtemp(prefix="csnode-real-"))
    made.chmod(0o755)
    try:
        yield made
    finally:
        shutil.rmtree(made, ignore_errors=True)


@pytest.fixture(scope="module")
def libvirtd() -> Iterator[PrivateLibvirtd]:
    with PrivateLibvirtd() as started:
        yield started


def real_cloud(folder: Path, libvirtd: PrivateLibvirtd, **more: Any) -> Cloud:
    sections: dict[str, Any] = {
        "compute": {"driver": "libvirt", "options": {"uri": libvirtd.uri}, "stop_seconds": 30},
        "network": {"driver": "linux", "options": {"names": NAMES}},
        "storage": {"driver": "dir", "options": {"file_roots": [str(GUEST.parent), str(folder)]}},
        "fabric": {
            "admin_api_key": "admin-key", "admin_secret_key": "admin-secret",
            "public_cidr": "198.18.7.0/24", "public_gateway": "198.18.7.1",
            "public_first": "198.18.7.10", "public_last": "198.18.7.250",
        },
    }  # fmt: skip
    return Cloud(folder, **(sections | more))


def cleaned(cloud: Cloud, libvirtd: PrivateLibvirtd) -> None:
    """Whatever a failed test left: domains, bridges, namespaces."""
    if not libvirtd.answers():
        libvirtd.start()
    libvirtd.clear()
    for name in outside():
        if Path(f"/run/netns/{name}").exists():
            for pid in shell("ip", "netns", "pids", name).split():
                os.kill(int(pid), 9)
            subprocess.run(["ip", "netns", "del", name], check=False)
    for name in outside():
        subprocess.run(["ip", "link", "del", name], check=False, capture_output=True)


@pytest.fixture(params=["one process", "four processes"])
def cloud(
    request: pytest.FixtureRequest, folder: Path, libvirtd: PrivateLibvirtd
) -> Iterator[Cloud]:
    with real_cloud(folder, libvirtd) as made:
        try:
            for roles in SPLIT if request.param == "four processes" else ((),):
                made.start(*roles)
            made.wait_ready()
            yield made
        finally:
            cleaned(made, libvirtd)


@pytest.fixture
def single(folder: Path, libvirtd: PrivateLibvirtd) -> Iterator[Cloud]:
    with real_cloud(folder, libvirtd) as made:
        try:
            made.start()
            made.wait_ready()
            yield made
        finally:
            cleaned(made, libvirtd)


def register(cs: Any, url: str, name: str = "tiny", **more: Any) -> dict[str, Any]:
    zone = cs.listZones()["zone"][0]["id"]
    wait_for(lambda: cs.listHosts(state="Up").get("host"), 60, "the host is Up")
    made = cs.registerTemplate(
        name=name, displaytext=name, url=url, format="QCOW2", hypervisor="KVM", zoneid=zone,
        ostypeid=cs.listOsTypes()["ostype"][0]["id"], **more,
    )["template"][0]  # fmt: skip

    def settled() -> Any:
        shown = cs.listTemplates(templatefilter="all", id=made["id"])["template"][0]
        working = "Downloaded" in shown["status"] or shown["status"] in ("", "Processing")
        return shown if shown["isready"] or not working else None

    return wait_for(settled, 60, "the template is ready or refused")  # type: ignore[no-any-return]


def prepared(cs: Any) -> dict[str, str]:
    digest = hashlib.sha256(GUEST.read_bytes()).hexdigest()
    template = register(cs, f"file://{GUEST}", checksum=f"{{SHA-256}}{digest}")
    assert template["isready"], template
    offering = cs.createServiceOffering(
        name="tiny", displaytext="tiny", cpunumber=1, cpuspeed=500, memory=160
    )["serviceoffering"]
    return {
        "zoneid": cs.listZones()["zone"][0]["id"],
        "templateid": template["id"],
        "serviceofferingid": offering["id"],
    }


def console(cloud: Cloud, vm: dict[str, Any]) -> str:
    logs = list((cloud.folder / "state").rglob(f"{vm['id']}.console"))
    return "".join(log.read_text(errors="replace") for log in logs)


def router_of(vm: dict[str, Any]) -> str:
    return f"{NAMES}r-{vm['nic'][0]['networkid'].replace('-', '')[:8]}"


def test_a_real_guest_lives_its_whole_life(cloud: Cloud, libvirtd: PrivateLibvirtd) -> None:
    cs = client(cloud)
    vm = cs.deployVirtualMachine(
        **prepared(cs), name="alive", userdata="I2NvbmZpZwpoZWxsbw==", fetch_result=True
    )["virtualmachine"]
    assert vm["state"] == "Running"
    address = vm["nic"][0]["ipaddress"]
    ready = wait_for(
        lambda: next((x for x in console(cloud, vm).splitlines() if "READY" in x), ""),
        120, "the guest says READY",
    )  # fmt: skip
    assert f"ip={address}" in ready
    assert "hostname=alive" in ready
    router = router_of(vm)
    shell("ip", "netns", "exec", router, "ping", "-c", "1", "-W", "5", address)
    page = shell("ip", "netns", "exec", router, "curl", "-sS", "-m", "10",
                 f"http://{address}/cgi-bin/info")  # fmt: skip
    assert "hostname alive" in page
    stopped = cs.stopVirtualMachine(id=vm["id"], fetch_result=True)["virtualmachine"]
    assert stopped["state"] == "Stopped"
    assert libvirtd.virsh("list", "--name").split() == []
    started = cs.startVirtualMachine(id=vm["id"], fetch_result=True)["virtualmachine"]
    assert started["state"] == "Running"
    assert started["nic"][0]["ipaddress"] == address
    cs.destroyVirtualMachine(id=vm["id"], expunge=True, fetch_result=True)
    assert cs.listVirtualMachines() == {}
    assert libvirtd.virsh("list", "--all", "--name").split() == []
    assert list((cloud.folder / "state").rglob("volumes/*.qcow2")) == []
    network = vm["nic"][0]["networkid"]
    cs.deleteNetwork(id=network, fetch_result=True)
    wait_for(  # csnode may be sending packets as a guest does, through links made for that
        lambda: {name for name in outside() if name != f"{NAMES}pub0"} == set(),
        30, "nothing of the network is left on the host",
    )  # fmt: skip


def test_a_guest_that_halts_by_itself_is_seen_as_stopped(
    single: Cloud, libvirtd: PrivateLibvirtd
) -> None:
    cs = client(single)
    vm = cs.deployVirtualMachine(**prepared(cs), fetch_result=True)["virtualmachine"]
    libvirtd.virsh("destroy", libvirtd.virsh("list", "--name").split()[0])
    wait_for(
        lambda: cs.listVirtualMachines(id=vm["id"])["virtualmachine"][0]["state"] == "Stopped",
        30, "the halted machine is shown as Stopped",
    )  # fmt: skip


def test_after_each_failure_nothing_is_left_and_the_next_deploy_works(
    single: Cloud, libvirtd: PrivateLibvirtd, folder: Path
) -> None:
    cs = client(single)
    params = prepared(cs)

    def deploy(**more: Any) -> dict[str, Any]:
        job = cs.deployVirtualMachine(**(params | more))["jobid"]
        return wait_for(  # type: ignore[no-any-return]
            lambda: (j := cs.queryAsyncJobResult(jobid=job))["jobstatus"] and j,
            120, "the deploy ends",
        )  # fmt: skip

    def refused(said: str, **more: Any) -> None:
        failed = deploy(**more)
        assert failed["jobstatus"] == 2, failed
        assert said in failed["jobresult"]["errortext"], failed
        vm = cs.listVirtualMachines(id=failed["jobinstanceid"])["virtualmachine"][0]
        assert vm["state"] == "Error"
        assert libvirtd.virsh("list", "--all", "--name").split() == []
        cs.destroyVirtualMachine(id=vm["id"], expunge=True, fetch_result=True)
        assert list((folder / "state").rglob("volumes/*.qcow2")) == []

    def works() -> None:
        done = deploy()
        assert done["jobstatus"] == 1, done
        cs.destroyVirtualMachine(id=done["jobinstanceid"], expunge=True, fetch_result=True)

    # no capacity
    huge = cs.createServiceOffering(
        name="huge", displaytext="huge", cpunumber=1, cpuspeed=500, memory=1 << 24
    )["serviceoffering"]["id"]
    refused("No host can run this machine", serviceofferingid=huge)
    works()

    # a dead libvirtd
    libvirtd.kill()
    job = cs.deployVirtualMachine(**params)["jobid"]
    wait_for(lambda: '"step": "power"' in single.log("all"), 120, "the start has failed")
    libvirtd.start()  # until then nobody can say that the machine does not run
    failed = wait_for(
        lambda: (j := cs.queryAsyncJobResult(jobid=job))["jobstatus"] and j,
        120, "the deploy ends",
    )  # fmt: skip
    assert failed["jobstatus"] == 2
    assert "libvirtd" in failed["jobresult"]["errortext"]
    cs.destroyVirtualMachine(id=failed["jobinstanceid"], expunge=True, fetch_result=True)
    works()

    # a cut router
    network = cs.listNetworks()["network"][0]["id"].replace("-", "")[:8]
    router = f"{NAMES}r-{network}"
    for pid in shell("ip", "netns", "pids", router).split():
        os.kill(int(pid), 9)
    shell("ip", "netns", "del", router)
    works()
    assert Path(f"/run/netns/{router}").exists()


def test_a_bad_template_is_refused_with_its_cause(single: Cloud, folder: Path) -> None:
    cs = client(single)
    backed, wrong = folder / "backed.qcow2", folder / "wrong.qcow2"
    shell("qemu-img", "create", "-q", "-f", "qcow2", "-b", str(GUEST), "-F", "qcow2", str(backed))
    wrong.write_bytes(b"<html>not an image</html>" * 100)
    for url, more, said in (
        (f"file://{GUEST}", {"checksum": "{SHA-256}" + "0" * 64}, "checksum"),
        (f"file://{backed}", {}, "backing"),
        (f"file://{wrong}", {}, "QCOW2"),
        ("file:///etc/passwd", {}, "file_roots"),
    ):
        shown = register(cs, url, name=said, **more)
        assert not shown["isready"]
        assert said.lower() in shown["status"].lower(), shown["status"]
        cs.deleteTemplate(id=shown["id"], fetch_result=True)
    assert list((folder / "state").rglob("templates/*")) == []
    assert list((folder / "state").rglob("tmp/*")) == []


def test_a_full_disk_fails_the_deploy_and_room_mends_it(folder: Path) -> None:
    pool = folder / "pool"
    pool.mkdir()
    shell("mount", "-t", "tmpfs", "-o", "size=24m", "tmpfs", str(pool))
    try:
        options = {"path": str(pool), "file_roots": [str(GUEST.parent)]}
        with (
            PrivateLibvirtd() as libvirtd,
            real_cloud(folder, libvirtd, storage={"driver": "dir", "options": options}) as cloud,
        ):
            try:
                cloud.start()
                cloud.wait_ready()
                cs = client(cloud)
                params = prepared(cs)
                free = os.statvfs(pool)
                ballast = pool / "ballast"
                ballast.write_bytes(b"\0" * (free.f_bavail * free.f_frsize))
                job = cs.deployVirtualMachine(**params)["jobid"]
                failed = wait_for(
                    lambda: (j := cs.queryAsyncJobResult(jobid=job))["jobstatus"] and j,
                    60, "the deploy ends",
                )  # fmt: skip
                assert failed["jobstatus"] == 2
                assert "room" in failed["jobresult"]["errortext"], failed
                ballast.unlink()
                done = cs.deployVirtualMachine(**params, fetch_result=True)["virtualmachine"]
                assert done["state"] == "Running"
            finally:
                cleaned(cloud, libvirtd)
    finally:
        shell("umount", "-l", str(pool))
