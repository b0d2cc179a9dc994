"""Guests of a lab as those outside see them: deployed, asked, watched on whatever host they run."""

from __future__ import annotations

import base64
import json
import re
import threading
import time
from collections.abc import Callable
from contextlib import suppress
from typing import Any

from csnode.testing.patience import slowness
from tests.lab import joining
from tests.lab.lab import ROOT, Lab
from tests.lab.shell import wait_for
from tests.servers import PostgresServer

FIGURES = ROOT / "var" / "lab-figures.json"
KEEPING = """#!/bin/sh
if [ -e /kept ]; then echo "found $(md5sum </kept)" >/dev/console
else dd if=/dev/urandom of=/kept bs=64k count=16; sync; echo "wrote $(md5sum </kept)" >/dev/console
fi
(while :; do echo 3 >/proc/sys/vm/drop_caches; echo "reads $(md5sum </kept)" >/dev/console; sleep 2
done) &
"""
PINGING = """#!/bin/sh
(while :; do ping -c 1 -W 1 {peer} >/dev/null && echo "pong {peer}" >/dev/console; sleep 1; done) &
"""


class Watcher(threading.Thread):
    """Asks both libvirtds what runs, over and over; remembers what was ever on two hosts."""

    def __init__(self, lab: Lab) -> None:
        super().__init__(daemon=True)
        self.lab, self.over = lab, threading.Event()
        self.samples = 0
        self.twice: list[dict[str, list[str]]] = []
        self.seen: list[tuple[float, dict[str, list[str]]]] = []

    def run(self) -> None:
        while not self.over.wait(0.1):
            with suppress(AssertionError):  # a libvirtd that is just dying
                found = self.lab.running()
                self.samples += 1
                self.seen.append((time.monotonic(), found))
                if any(len(hosts) > 1 for hosts in found.values()):
                    self.twice.append(found)


def figure(**figures: float) -> None:
    known: dict[str, float] = json.loads(FIGURES.read_text()) if FIGURES.exists() else {}
    FIGURES.write_text(json.dumps(known | {k: round(v, 2) for k, v in figures.items()}))
    print(figures)


def offering(lab: Lab) -> str:
    """The id of one that is kept running."""
    cs = lab.client()
    known = cs.listServiceOfferings(name="kept")
    if not known:
        made = cs.createServiceOffering(
            name="kept", displaytext="kept", cpunumber=1, cpuspeed=500, memory=160, offerha=True
        )
        return str(made["serviceoffering"]["id"])
    return str(known["serviceoffering"][0]["id"])


def deploy(
    lab: Lab, name: str, peer: str = "", script: str = "#!/bin/sh\n", **more: Any
) -> dict[str, Any]:
    """A machine that runs its start script, or pings its peer; its guest is READY."""
    script = PINGING.format(peer=peer) if peer else script
    asked = {**lab.prepared(), "serviceofferingid": offering(lab), "name": name, **more}
    asked["userdata"] = base64.b64encode(script.encode()).decode()
    made = lab.client().deployVirtualMachine(**asked, fetch_result=True)["virtualmachine"]
    wait_for(lambda: ready(lab, made["id"]) > 0, f"{name} is READY", 120)
    return made  # type: ignore[no-any-return]


def ready(lab: Lab, vm: str) -> int:
    """How often the guest has come up."""
    return lab.console(vm).count("READY hostname=")


def pongs(lab: Lab, vm: str) -> int:
    return lab.console(vm).count("pong ")


def where(lab: Lab) -> dict[str, list[str]]:
    """On which hosts machines run; nothing while a libvirtd is just dying."""
    with suppress(AssertionError):
        return lab.running()
    return {}


def home(lab: Lab, vm: str) -> str:
    """The one host that it runs on."""
    (host,) = lab.running()[vm]
    return host


def host_id(lab: Lab, name: str) -> str:
    return str(lab.client().listHosts(name=name)["host"][0]["id"])


def shown(lab: Lab, host: str) -> str:
    return str(lab.client().listHosts(name=host)["host"][0]["state"])


def destroyed(lab: Lab, *vms: str) -> None:
    for vm in vms:
        lab.client().destroyVirtualMachine(id=vm, expunge=True, fetch_result=True)


def pinger(lab: Lab, address: str) -> Any:
    """Ping the guest from its router ten times a second; called, it answers sent and received."""
    for host in (h for h in lab.hosts.values() if h.plan.guests):
        for namespace in host.run("ip", "netns", "list").split():
            if "r-" not in namespace:
                continue
            enter = ("ip", "netns", "exec", namespace)
            if "1 received" in host.run(*enter, "ping", "-c1", "-W2", address, check=False):
                ping = host.popen(*enter, "ping", "-i", "0.1", "-w", "12", address)
                return lambda: counted(ping)
    raise AssertionError(f"no router reaches {address}")


def kept_answering(pinging: Callable[[], tuple[int, int]], lost: float = 0.5) -> tuple[int, int]:
    """Sent and received, once the pings end: a guest that moves misses a few, and no more.

    On a machine that is twice as slow it answers half as many in time.
    """
    sent, received = pinging()
    assert sent > 20, f"only {sent} pings were sent"
    answered = sent * (1 - lost) / slowness()
    assert received >= answered, f"{sent - received} of {sent} pings were lost"
    return sent, received


def counted(ping: Any) -> tuple[int, int]:
    said, _ = ping.communicate(timeout=60)
    found = re.search(r"(\d+) packets transmitted, (\d+) received", said)
    assert found, said
    return int(found[1]), int(found[2])


def state(lab: Lab, vm: str) -> str:
    return str(lab.client().listVirtualMachines(id=vm)["virtualmachine"][0]["state"])


def resource(lab: Lab, host: str) -> str:
    return str(lab.client().listHosts(name=host)["host"][0]["resourcestate"])


def alerts(lab: Lab) -> str:
    found = lab.client().listAlerts().get("alert", [])
    return "\n".join(alert["description"] for alert in found)


def told(lab: Lab, vm: str, what: str) -> list[str]:
    """What the guest wrote after that word, line by line."""
    return re.findall(rf"^{what} (\S+)", lab.console(vm), re.MULTILINE)


def verified(lab: Lab, host: str = "c1") -> str:
    """What `csnode verify` there finds; "" if nothing."""
    file = str(joining.file_of(lab.hosts[host]))
    verify = lab.hosts[host].popen(joining.CSNODE, "--config", file, "verify", "--output", "json")
    said, complaint = verify.communicate(timeout=60)
    return "" if verify.returncode == 0 else f"{verify.returncode}: {said}{complaint}"


def leased(lab: Lab) -> dict[str, str]:
    """Who holds the leases that have not run out, by name."""
    server = lab.engines.servers["postgresql"]
    assert isinstance(server, PostgresServer)
    sql = "SELECT row FROM lease WHERE (row::json->>'until')::float > extract(epoch from now())"
    rows = [json.loads(line) for line in server.sql(sql, "csnode").splitlines()]
    return {row["id"]: row["holder"] for row in rows}
