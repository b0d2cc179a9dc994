"""What the demo shows: one machine, from the first request to its answer on the network."""

from __future__ import annotations

import asyncio
import json
import re
from pathlib import Path
from typing import Any

from csnode.cli import joined
from csnode.cli.client import Client
from csnode.clock import now
from csnode.contracts.compute import Compute
from csnode.data.store import Store
from csnode.faults import Fault, NotFound, Refused, Unavailable
from csnode.model.job import Job
from csnode.node import AnyBus
from csnode.types import HostId, VmId
from csnode.uuids import new_id

READY_S = 300.0  # an emulated machine on a busy host takes its time
_CONTROL = re.compile(r"\x1b\[[0-9;?]*[ -/]*[@-~]|[^\t\x20-\x7e\n]")


class Story:
    """Told once, from top to bottom; `unmake` takes back whatever was made."""

    def __init__(self, client: Client, bus: AnyBus, names: str) -> None:
        self.api, self.bus, self._names = client, bus, names
        self.store: Store = joined.store(bus)
        self.began = now()
        self._shown: set[str] = set()
        self._machine = self._network = ""

    def say(self, what: str, told: str) -> None:
        """Print one line: seconds since the beginning, what, and how it went."""
        print(f"{now() - self.began:7.2f} s  {what:<22} {told}", flush=True)

    # -- places, sizes, images --------------------------------------------------------------

    async def place(self) -> str:
        """Return the zone, once a host in it is up. Raises Unavailable if none is after 30 s."""
        zone = (await self.api.call("listZones"))["zone"][0]
        self.say("listZones", f"{zone['name']}, {zone['allocationstate']}")
        until = now() + 30
        while True:
            hosts = (await self.api.call("listHosts", type="Routing")).get("host", [])
            up = [host for host in hosts if host["state"] == "Up"]
            if up:
                break
            if now() > until:
                raise Unavailable("no host is up after 30 s")
            await asyncio.sleep(0.1)
        host = up[0]
        memory = host.get("memorytotal", 0) // 2**20
        self.say("listHosts", f"{host['name']}: Up, {host.get('cpunumber')} cpus, {memory} MiB")
        return str(zone["id"])

    async def offering(self) -> str:
        """Make a size that any machine has room for."""
        size = (
            await self.api.call(
                "createServiceOffering", name="tiny", displaytext="1 cpu, 128 MiB",
                cpunumber=1, cpuspeed=500, memory=128,
            )
        )["serviceoffering"]  # fmt: skip
        self.say("createServiceOffering", f"{size['name']}: {size['displaytext']}")
        return str(size["id"])

    async def template(self, zone: str, image: Path, checksum: str) -> str:
        """Register the guest image; return it once it is in the pool."""
        os_type = (await self.api.call("listOsTypes", keyword="Debian"))["ostype"][0]
        template = (
            await self.api.call(
                "registerTemplate", name="tiny", displaytext="a tiny guest", format="QCOW2",
                hypervisor="KVM", ostypeid=os_type["id"], zoneid=zone, url=f"file://{image}",
                checksum=f"{{SHA-256}}{checksum}",
            )
        )["template"][0]  # fmt: skip
        until = now() + 120
        while not template.get("isready"):
            if now() > until:
                raise Unavailable(f"the template is not ready: {template.get('status')}")
            await asyncio.sleep(0.1)
            found = await self.api.call("listTemplates", templatefilter="self", id=template["id"])
            template = found["template"][0]
        self.say("registerTemplate", f"{template['name']}: {template.get('status')}")
        return str(template["id"])

    async def network(self, zone: str) -> str:
        """Make a network of its own for the machine."""
        offers = await self.api.call("listNetworkOfferings", guestiptype="Isolated")
        made = (
            await self.api.call(
                "createNetwork", name="demo", displaytext="demo", zoneid=zone,
                networkofferingid=offers["networkoffering"][0]["id"],
            )
        )["network"]  # fmt: skip
        self._network = str(made["id"])
        self.say("createNetwork", f"{made['name']}: {made.get('cidr', '')}")
        return self._network

    # -- the machine ------------------------------------------------------------------------

    async def machine(self, **chosen: str) -> dict[str, Any]:
        """Deploy the machine, and show each step of the saga as it ends."""
        self._machine = new_id()  # chosen by us: it can be removed even if no answer ever comes
        self.say("deployVirtualMachine", "the steps of its saga:")
        result = await self.api.work(
            "deployVirtualMachine",
            {"name": "demo", "customid": self._machine, **chosen},
            self._tell_steps,
        )
        machine: dict[str, Any] = result["virtualmachine"]
        self.say("", f"{machine['instancename']} is {machine['state']} on {machine['hostname']}")
        return machine

    async def _tell_steps(self, job: str) -> None:
        row = await self.store.get(Job, job)
        for time in row.times:
            if time.ended and f"{job}{time.id}" not in self._shown:
                self._shown.add(f"{job}{time.id}")
                tries = f", {time.tries} tries" if time.tries > 1 else ""
                self.say("", f"  {time.id:<10} {(time.ended - time.began) * 1000:7.1f} ms{tries}")

    async def console(self, machine: str, host: str) -> str:
        """Show what the guest writes to its serial console until READY; return that line."""
        compute = self.bus.ask(Compute, at=HostId(host))
        self.say("console", "")
        shown = 0
        until = now() + READY_S
        while now() < until:
            try:
                lines = _text(await compute.console(VmId(machine))).split("\n")
            except NotFound:
                lines = [""]
            for line in lines[shown:-1]:
                if line.strip():
                    print(f"{'':11}| {line.strip()}", flush=True)
                if line.startswith("READY"):
                    return line
            shown = max(shown, len(lines) - 1)
            await asyncio.sleep(0.1)
        raise Unavailable(f"the guest does not say READY after {READY_S:.0f} s")

    async def ping(self, address: str) -> None:
        """Ping from the network's own router, where nothing is in between."""
        listed = json.loads(await _run("ip", "-j", "netns", "list") or "[]")
        router = next((n["name"] for n in listed if n["name"].startswith(self._names)), "")
        if not router:
            raise Refused("the network has no router on this host")
        said = await _run("ip", "netns", "exec", router, "ping", "-c3", "-i0.2", "-W2", address)
        answer = next((line for line in said.splitlines() if "packets" in line), "")
        if " 0% packet loss" not in answer:
            raise Refused(f"{address} does not answer ping from {router}: {answer or 'nothing'}")
        self.say("ping", f"{address} from {router}: {answer}")

    # -- the way back -----------------------------------------------------------------------

    async def unmake(self) -> None:
        """Remove machine and network; whatever was not made, or is gone already, is fine."""
        if self._machine:
            await self._remove("destroyVirtualMachine", id=self._machine, expunge="true")
        if self._network:
            await self._remove("deleteNetwork", id=self._network)

    async def _remove(self, command: str, **which: str) -> None:
        try:
            await self.api.work(command, which)
        except Fault as fault:
            if "does not exist" not in fault.message:
                self.say(command, fault.message)
        else:
            self.say(command, "done")


def _text(console: bytes) -> str:
    return _CONTROL.sub("", console.decode(errors="replace").replace("\r", ""))


async def _run(*command: str) -> str:
    process = await asyncio.create_subprocess_exec(
        *command, stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.STDOUT
    )
    said, _ = await process.communicate()
    return said.decode(errors="replace")
