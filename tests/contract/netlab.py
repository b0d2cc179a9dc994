"""A laboratory for network drivers: guests and an outside made of network namespaces.

Needs root, iproute2 and busybox (its udhcpc is the guests' DHCP client). Everything is named with
one prefix, and gone after `close`, also after a failure.
"""

from __future__ import annotations

import asyncio
import http.client
import os
import shutil
import socket
import tempfile
from collections.abc import Awaitable, Callable, Mapping
from pathlib import Path

from csnode.drivers.driver import Seat
from csnode.model.machine import GuestNetwork, GuestNic
from csnode.testing.patience import patient
from csnode.types import HostId
from roles.network.drivers import dnsmasq
from roles.network.drivers.command import batch, links, run
from roles.network.drivers.linux import LinuxNetwork
from roles.network.drivers.namespace import PLACE, inside, listening

OUTSIDE = "198.51.100.200"
SCRIPT = """#!/bin/sh
# udhcpc(8): called with what was leased in the environment
[ "$1" = bound ] || [ "$1" = renew ] || exit 0
env > "$LEASED"
ip addr replace "$ip/$mask" dev "$interface"
ip link set "$interface" mtu "$mtu"
[ -z "$router" ] || ip route replace default via "$router"
"""


async def until(true: Callable[[], Awaitable[bool]]) -> None:
    """Wait for it, five seconds at most where nothing else runs."""
    async with asyncio.timeout(patient(5)):
        while not await true():
            await asyncio.sleep(0.02)


class Lab:
    """One host, and a folder of its own; `names` begins every name."""

    def __init__(self) -> None:
        self.names = f"t{os.getpid() % 0x1000:03x}"
        self.folder = Path(tempfile.mkdtemp(prefix="netlab-"))
        self.folder.chmod(0o755)  # the user dnsmasq has to pass
        self.seat = Seat(
            id=HostId("h1"), name="h1", address="127.0.0.1", folder=f"{self.folder}/network"
        )
        self.servers: list[asyncio.Server] = []
        self.made = 0

    def driver(self, **options: object) -> LinuxNetwork:
        return LinuxNetwork({"names": self.names, **options}, self.seat)

    async def found(self) -> set[str]:
        """All that is ours: interfaces, namespaces, processes, files."""
        daemons = [d for d in dnsmasq.running() if d.conf.startswith(str(self.folder))]
        return (
            {f"link {n}" for n in await links() if n.startswith(self.names)}
            | {f"netns {n.name}" for n in PLACE.glob(f"{self.names}*")}
            | {f"dnsmasq {d.pid}" for d in daemons}
            | {f"file {f}" for f in self.folder.rglob("*") if f.is_file()}
        )

    async def close(self) -> None:
        for server in self.servers:
            server.close()
        daemons = [d for d in dnsmasq.running() if d.conf.startswith(str(self.folder))]
        await dnsmasq.stop(daemons)
        for name in await links():
            if name.startswith(self.names):
                await run("sh", "-c", f"ip link del {name} 2>/dev/null || true")  # a pair's 2nd
        for place in PLACE.glob(f"{self.names}*"):
            await batch([f"netns del {place.name}"])
        shutil.rmtree(self.folder)

    async def guest(self, bridge: str, nic: GuestNic, host: str = "") -> Guest:
        """A machine with that card, plugged into the bridge; it has no address yet.

        The bridge is this host's, or of a host played by a namespace.
        """
        self.made += 1
        guest = Guest(self, f"{self.names}v{self.made}", nic.mac)
        await batch([f"netns add {guest.namespace}"])
        await batch(
            [
                f"link add {guest.namespace} mtu 1450 master {bridge} type veth peer name eth0"
                f" address {nic.mac} netns {guest.namespace}",
                f"link set {guest.namespace} up",
            ],
            namespace=host,
        )
        await batch(["link set lo up", "link set eth0 up"], namespace=guest.namespace)
        return guest

    async def deploy(self, driver: LinuxNetwork, network: GuestNetwork, nic: GuestNic) -> Guest:
        """A machine whose card the router knows, as a deploy makes it."""
        await driver.ensure_router(network)
        await driver.ensure_nic(nic)
        return await self.guest((await driver.ensure_plug(network, nic)).bridge, nic)

    async def outside(self, bridge: str) -> Guest:
        """A machine on the public side; on port 80 it tells callers their address."""
        nic_mac = "02:ff:00:00:00:01"
        self.made += 1
        guest = Guest(self, f"{self.names}v{self.made}", nic_mac)
        await batch(
            [
                f"netns add {guest.namespace}",
                f"link add {guest.namespace} master {bridge} type veth peer name eth0"
                f" address {nic_mac} netns {guest.namespace}",
                f"link set {guest.namespace} up",
            ]
        )
        lines = ["link set lo up", f"addr add {OUTSIDE}/24 dev eth0", "link set eth0 up"]
        await batch(lines, namespace=guest.namespace)
        await guest.serve(OUTSIDE)
        return guest

    async def answer_at(self, sock_address: str, port: int = 80, namespace: str = "") -> None:
        """Serve there, in the namespace or on the host: each caller is told his address."""

        async def tell(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            await reader.readuntil(b"\r\n\r\n")
            peer = str(writer.get_extra_info("peername")[0]).encode()
            head = b"HTTP/1.0 200 OK\r\nContent-Length: %d\r\n\r\n" % len(peer)
            writer.write(head + peer)
            await writer.drain()
            writer.close()

        def sock() -> socket.socket:
            return listening(sock_address, port)

        made = await inside(namespace, sock) if namespace else sock()
        self.servers.append(await asyncio.start_server(tell, sock=made))


class Guest:
    """One machine."""

    def __init__(self, lab: Lab, namespace: str, mac: str) -> None:
        self.lab, self.namespace, self.mac = lab, namespace, mac

    async def run(self, *command: str) -> str:
        return await run("nsenter", f"--net={PLACE / self.namespace}", *command)

    async def serve(self, address: str) -> None:
        await self.lab.answer_at(address, namespace=self.namespace)

    async def dhcp(self, *options: str) -> dict[str, str]:
        """What a DHCP client is leased, and takes; empty if nobody answers."""
        script = self.lab.folder / "udhcpc.sh"
        script.write_text(SCRIPT)
        script.chmod(0o755)
        leased = self.lab.folder / f"{self.namespace}.leased"
        leased.unlink(missing_ok=True)
        client = ["busybox", "udhcpc", "-i", "eth0", "-n", "-q", "-f", "-t", "3", "-T", "1"]
        client += ["-O", "mtu", "-O", "hostname", "-s", str(script), *options]
        await self.run("sh", "-c", f"LEASED={leased} {' '.join(client)} 2>/dev/null || true")
        if not leased.exists():
            return {}
        lines = leased.read_text().splitlines()
        leased.unlink()
        script.unlink()
        pairs = [line.partition("=") for line in lines]
        return {name: value for name, _, value in pairs}

    async def get(
        self,
        path: str,
        address: str = "10.1.1.1",
        port: int = 80,
        headers: Mapping[str, str] | None = None,
        method: str = "GET",
    ) -> tuple[int, str]:
        """Status and body; (0, "") if nobody answers within two seconds."""

        def ask() -> tuple[int, str]:
            connection = http.client.HTTPConnection(address, port, timeout=2)
            try:
                connection.request(method, path, headers=dict(headers or {}))
                answer = connection.getresponse()
                return answer.status, answer.read().decode()
            except OSError:
                return 0, ""
            finally:
                connection.close()

        return await inside(self.namespace, ask)

    async def resolve(self, name: str, server: str = "10.1.1.1") -> str:
        """The address of the name, "" if it has none."""
        asked = f"busybox nslookup -type=a {name} {server} 2>/dev/null || true"
        said = await self.run("sh", "-c", asked)
        found = [line.split()[1] for line in said.splitlines() if line.startswith("Address:")]
        return found[-1] if len(found) > 1 else ""

    async def hears(self, address: str) -> bool:
        """Whether anybody on its link says that he has the address (ARP)."""
        asked = f"busybox arping -q -f -c 2 -w 2 -I eth0 {address} && echo yes || true"
        return "yes" in await self.run("sh", "-c", asked)

    async def pings(self, address: str) -> bool:
        asked = f"busybox ping -q -c 1 -W 2 {address} >/dev/null && echo yes || true"
        return "yes" in await self.run("sh", "-c", asked)
