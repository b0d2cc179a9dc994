"""`python -m tests.lab`: a lab for a person. `make lab` brings it up and stays."""

from __future__ import annotations

import argparse
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

from tests.lab import plan
from tests.lab.lab import IMAGE, Lab

FOLDER = Path("/var/tmp/csnode-lab")
SERVERS = ("libvirtd", "postgresql", "zookeeper")
WHAT = {
    "up": "bring it up and stay until Ctrl-C (--detach: leave it)",
    "down": "take it away, whatever is left of it",
    "status": "what stands where",
    "exec": "HOST COMMAND...: run a command on a host (switch: on the outside)",
    "cut": "HOST: pull its cables",
    "heal": "HOST: plug them in, and lose no more frames",
    "lose": "HOST PERCENT: lose so many of its frames",
    "off": "HOST: no power any more",
    "on": "HOST: power again",
    "kill": "HOST PROCESS: kill -9 of a csnode process (or libvirtd, postgresql, zookeeper)",
    "restart": "HOST PROCESS: start it again",
    "console": "VM: what the machine wrote to its console",
}


def main(words: list[str]) -> int:
    says = "\n".join(f"  {word:8} {what}" for word, what in WHAT.items())
    parser = argparse.ArgumentParser(
        prog="python -m tests.lab",
        description=f"Several hosts on this machine, and csnode split over them.\n\n{says}",
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("what", choices=WHAT, metavar="WHAT")
    parser.add_argument("words", nargs="*", metavar="...")
    parser.add_argument("--folder", type=Path, default=FOLDER, help=f"of the lab; else {FOLDER}")
    parser.add_argument("--detach", action="store_true", help="up: do not stay")
    at = words.index("exec") + 2 if "exec" in words else len(words)  # options of others follow
    given = parser.parse_args(words[:at])
    lab = Lab(given.folder, keep=given.detach or given.what != "up")
    if given.what == "up":
        return up(lab, given.detach)
    if given.what == "down":
        lab.down()
        print(f"nothing is left of the lab in {lab.folder}")
        return 0
    return act(lab, given.what, [*given.words, *words[at:]])


def up(lab: Lab, detach: bool) -> int:
    began = time.monotonic()
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    try:
        print(f"building the lab in {lab.folder} ...", flush=True)
        lab.up()
        lab.template()
        lab.offering()
        took = time.monotonic() - began
        print(f"up after {took:.0f} s\n{pictured(lab)}\n{to_talk(lab)}", flush=True)
        if detach:
            print("\nmake lab-down takes it away")
            os._exit(0)  # its hosts go on; nothing waits for them
        print("\nCtrl-C takes it away", flush=True)
        signal.pause()
    except KeyboardInterrupt:
        print("\ntaking it away ...", flush=True)
    finally:
        lab.down()
    return 0


def act(lab: Lab, what: str, words: list[str]) -> int:
    match what, words:
        case "status", []:
            print(pictured(lab))
        case "exec", [host, *command] if command:
            outside = ["ip", "netns", "exec", lab.switch.namespace, *command]
            line = outside if host == "switch" else lab.at(host).entering(*command)
            return subprocess.run(line, check=False).returncode
        case (("cut" | "heal" | "off" | "on"), [host]):
            verbs = {"cut": lab.cut, "heal": lab.heal, "off": lab.power_off, "on": lab.power_on}
            verbs[what](host)
        case "lose", [host, percent]:
            lab.lose(host, int(percent))
        case (("kill" | "restart"), [host, name]):
            lab.kill(host, name)
            if what == "restart":
                lab.start(host, name)
        case "console", [vm]:
            print(lab.console(vm))
        case _:
            print(f"{what}: {WHAT[what]}", file=sys.stderr)
            return 64
    return 0


def pictured(lab: Lab) -> str:
    """What stands where."""
    lines: list[str] = []
    where = lab.running()
    for host in lab.all_hosts:
        state = "on" if host.init else "off"
        runs = [n for n in (*host.plan.processes, *SERVERS) if host.pid(n)]
        machines = [vm for vm, hosts in where.items() if host.name in hosts]
        lines.append(f"  {host.name:8} {host.address:14} {state:4} {', '.join(runs)}")
        lines += [f"           machine {vm}" for vm in machines]
    return "\n".join(lines)


def to_talk(lab: Lab) -> str:
    """How to use it."""
    lab_command = "python -m tests.lab"
    return f"""
  export CLOUDSTACK_ENDPOINT={lab.url()}/client/api
  export CLOUDSTACK_KEY={plan.KEY} CLOUDSTACK_SECRET={plan.KEY_SECRET}
  curl -s {lab.url()}/readyz
  cs listHosts                      # PyPI's cs is in .venv/bin, for example
  cs deployVirtualMachine {" ".join(f"{k}={v}" for k, v in lab.prepared().items())}
  {lab_command} exec h1 virsh list  # h1, h2: guests; c1, c2: apis; switch: the outside
  {lab_command} cut h1              # heal, lose, off, on, kill, restart, console, status
  the guest image is {IMAGE}; the lab's files are in {lab.folder}"""


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
