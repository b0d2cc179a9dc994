"""Drift of real things: a domain, a disk and a router that csnode did not make so."""

from __future__ import annotations

import subprocess
from pathlib import Path
from typing import Any

import pytest

from tests.contract.libvirtd import PrivateLibvirtd
from tests.system.processes import Cloud, wait_for
from tests.system.test_clients import client
from tests.system.test_real import (
    cleaned,
    folder,
    libvirtd,
    prepared,
    real_cloud,
    router_of,
    shell,
)
from tests.system.test_verify import LOST, verified

pytestmark = pytest.mark.real
FIXTURES = (folder, libvirtd)
SLOW = {"sweep_seconds": 0.0}  # what verify is to find, no sweep may take away before
OFTEN = {"sweep_seconds": 2.0, "ghost_seconds": 1.0}


def cloud_of(folder: Path, libvirtd: PrivateLibvirtd, sweep: dict[str, float]) -> Cloud:
    made = real_cloud(folder, libvirtd)
    text = made.file.read_text()
    for role in ("compute", "network", "storage"):
        lines = "".join(f"{key} = {value}\n" for key, value in sweep.items())
        assert f"[{role}]\n" in text
        text = text.replace(f"[{role}]\n", f"[{role}]\n{lines}")
    made.file.write_text(text)
    return made


def a_guest(cloud: Cloud) -> dict[str, Any]:
    cs = client(cloud)
    job = cs.deployVirtualMachine(**prepared(cs), fetch_result=True)
    return dict(job["virtualmachine"])


def virsh(libvirtd: PrivateLibvirtd, *args: str) -> str:
    return shell("virsh", "-c", libvirtd.uri, *args)


def names(found: Any) -> set[str]:
    return {finding["check"] for finding in found["findings"]}


def test_verify_finds_a_real_cloud_clean_and_names_and_cures_what_is_damaged(
    folder: Path, libvirtd: PrivateLibvirtd
) -> None:
    with cloud_of(folder, libvirtd, SLOW) as cloud:
        try:
            cloud.start()
            cloud.wait_ready()
            vm = a_guest(cloud)
            code, found = verified(cloud)
            assert (code, found["findings"]) == (0, []), found
            [image] = [f for f in (cloud.folder / "state").rglob("*.qcow2") if "volume" in str(f)]
            orphan = image.with_name(f"{LOST}.qcow2")
            shell("qemu-img", "create", "-q", "-f", "qcow2", str(orphan), "1M")
            shell("ip", "netns", "exec", router_of(vm), "nft", "flush", "ruleset")
            code, found = verified(cloud)
            assert code == 1
            assert names(found) == {"bytes-without-volume", "router-broken"}, found
            code, found = verified(cloud, "--repair")
            assert (code, found["findings"]) == (0, []), found
            assert not orphan.exists()
            assert list((cloud.folder / "state").rglob(f"{LOST}.*"))  # set aside, not deleted
            assert "masquerade" in shell("ip", "netns", "exec", router_of(vm), "nft",
                                         "list", "ruleset") or "snat" in shell(
                "ip", "netns", "exec", router_of(vm), "nft", "list", "ruleset")  # fmt: skip
        finally:
            cleaned(cloud, libvirtd)


def test_sweeps_bring_a_router_back_and_settle_a_domain_that_is_gone(
    folder: Path, libvirtd: PrivateLibvirtd
) -> None:
    with cloud_of(folder, libvirtd, OFTEN) as cloud:
        try:
            cloud.start()
            cloud.wait_ready()
            vm = a_guest(cloud)
            subprocess.run(["ip", "netns", "del", router_of(vm)], check=True)
            wait_for(lambda: Path(f"/run/netns/{router_of(vm)}").exists(), 60, "the router is back")
            virsh(libvirtd, "destroy", vm["id"])
            virsh(libvirtd, "undefine", vm["id"])

            def is_stopped() -> bool:
                shown = client(cloud).listVirtualMachines(id=vm["id"])["virtualmachine"][0]
                return bool(shown["state"] == "Stopped")

            wait_for(is_stopped, 90, "the record says what is")
            wait_for(lambda: verified(cloud)[0] == 0, 90, "what it held is given back")
        finally:
            cleaned(cloud, libvirtd)
