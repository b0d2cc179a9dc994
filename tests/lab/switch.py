"""The switch of a lab: a namespace with two bridges, into which every host is plugged.

`mgmt` is the management network, `pub` the public one; the switch itself is the outside of the
cloud, at the public gateway. This machine has one link to the management network.
"""

from __future__ import annotations

from pathlib import Path

from tests.lab.plan import PUBLIC
from tests.lab.shell import ip, shell

NETNS = Path("/run/netns")
SWITCH, OWN = 1, 254  # last parts of addresses on the management network


class Switch:
    """Cables are named after their host: m-HOST and p-HOST."""

    def __init__(self, prefix: str, net: str) -> None:
        self.namespace, self.link, self.net = f"{prefix}-switch", f"{prefix}0", net

    def up(self) -> None:
        ip(f"netns add {self.namespace}")
        ip(
            "link set lo up",
            "link add mgmt type bridge forward_delay 0 mcast_snooping 0",
            "link add pub type bridge forward_delay 0 mcast_snooping 0",
            f"addr add {self.net}.{SWITCH}/24 dev mgmt",
            f"addr add {PUBLIC}.1/24 dev pub",
            "link set mgmt up",
            "link set pub up",
            namespace=self.namespace,
        )
        ip(
            f"link add {self.link} type veth peer name own netns {self.namespace}",
            f"addr add {self.net}.{OWN}/24 dev {self.link}",
            f"link set {self.link} up",
        )
        ip("link set own master mgmt up", namespace=self.namespace)

    def plug(self, host: str, namespace: str) -> None:
        """Two cables to the host: mgmt0 and pub0 there."""
        ip(
            f"link add m-{host} master mgmt type veth peer name mgmt0 netns {namespace}",
            f"link add p-{host} master pub type veth peer name pub0 netns {namespace}",
            f"link set m-{host} up",
            f"link set p-{host} up",
            namespace=self.namespace,
        )

    def unplug(self, host: str) -> None:
        """Both cables are gone; they may be by now."""
        ip(f"link del m-{host}", f"link del p-{host}", namespace=self.namespace, check=False)

    def cut(self, host: str) -> None:
        """Nothing passes on the host's cables, as if they were pulled."""
        ip(f"link set m-{host} down", f"link set p-{host} down", namespace=self.namespace)

    def heal(self, host: str) -> None:
        """They are plugged in again, and lose nothing."""
        ip(f"link set m-{host} up", f"link set p-{host} up", namespace=self.namespace)
        self.lose(host, 0)

    def lose(self, host: str, percent: int) -> None:
        """So many of a hundred frames are lost on its management cable, each way, at random."""
        table = f"lose_{host}"
        rules = f"table netdev {table} {{}}\ndelete table netdev {table}\n"
        if percent:
            which = f"numgen random mod 100 < {percent}" if percent < 100 else ""
            for way in ("ingress", "egress"):
                rules += (
                    f"table netdev {table} {{ chain {way} {{\n"
                    f'type filter hook {way} device "m-{host}" priority 0;\n'
                    f"{which} drop\n}}\n}}\n"
                )
        self.run("nft", "-f", "-", text=rules)

    def run(self, *command: str, text: str | None = None, check: bool = True) -> str:
        """Run a command on the switch: on the outside, as the cloud sees it."""
        place = f"--net={NETNS / self.namespace}"
        return shell("nsenter", place, *command, text=text, check=check)


def free_net(wish: int) -> str:
    """A /24 within 10.0.0.0/8 that this machine has no route to, as "10.1.2"."""
    taken = shell("ip", "-4", "route", "show", "table", "all")
    for number in range(wish, wish + 4096):
        net = f"10.{96 + number // 256 % 64}.{number % 256}"
        if f"{net}." not in taken:
            return net
    raise AssertionError("no network is free")
