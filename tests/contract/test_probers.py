"""Probers: who answers an echo request. The real one is tried between namespaces of its own."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Iterator

import pytest

from csnode.drivers.driver import Seat
from csnode.faults import Invalid
from roles.keeper.drivers.icmp import IcmpProber
from roles.keeper.drivers.sim import SimProber, outside

SEAT = Seat(id="host-id", name="here", address="", folder="")
NEAR, FAR, NOBODY = "198.18.77.1", "198.18.77.2", "198.18.77.3"
NEAR6, FAR6 = "fd77::1", "fd77::2"
ASK = """
import asyncio, json, sys
from csnode.drivers.driver import Seat
from roles.keeper.drivers.icmp import IcmpProber
prober = IcmpProber({}, Seat(id="i", name="n", address="", folder=""))
print(json.dumps(asyncio.run(prober.reach(tuple(sys.argv[1:])))))
"""


def ip(*words: str) -> None:
    subprocess.run(["ip", *words], check=True, capture_output=True)


@pytest.fixture
def two() -> Iterator[tuple[str, str]]:
    """Two namespaces with a cable between them."""
    near, far = (f"w8p{os.getpid() % 0x10000:04x}{end}" for end in "ab")
    try:
        for name in (near, far):
            ip("netns", "add", name)
        ip(
            "-n",
            near,
            "link",
            "add",
            "veth0",
            "type",
            "veth",
            "peer",
            "name",
            "veth0",
            "netns",
            far,
        )
        for name, v4, v6 in ((near, NEAR, NEAR6), (far, FAR, FAR6)):
            ip("-n", name, "address", "add", f"{v4}/24", "dev", "veth0")
            ip("-n", name, "address", "add", f"{v6}/64", "dev", "veth0", "nodad")
            ip("-n", name, "link", "set", "veth0", "up")
        yield near, far
    finally:
        for name in (near, far):
            subprocess.run(["ip", "netns", "delete", name], capture_output=True, check=False)


def reached(namespace: str, *addresses: str) -> list[str]:
    asked = subprocess.run(
        ["ip", "netns", "exec", namespace, sys.executable, "-c", ASK, *addresses],
        check=True, capture_output=True, text=True,
    )  # fmt: skip
    return list(json.loads(asked.stdout))


@pytest.mark.real
def test_a_machine_answers_until_its_cable_is_cut(two: tuple[str, str]) -> None:
    near, far = two
    assert reached(near, FAR, NOBODY, FAR6) == [FAR, FAR6]
    ip("-n", far, "link", "set", "veth0", "down")
    assert reached(near, FAR, FAR6) == []


async def test_what_is_no_address_is_refused() -> None:
    with pytest.raises(Invalid, match="no IP address"):
        await IcmpProber({}, SEAT).reach(("host-1; reboot",))


async def test_the_simulated_prober_knows_what_its_world_says() -> None:
    outside("").reaches = lambda asker, address: (asker, address) == ("here", "there")
    try:
        assert await SimProber({}, SEAT).reach(("there", "elsewhere")) == ("there",)
    finally:
        SimProber.forget_outside()
