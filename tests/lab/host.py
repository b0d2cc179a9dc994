"""One host of a lab."""

from __future__ import annotations

import subprocess
import uuid
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

import libvirt

from tests.lab.plan import Plan
from tests.lab.shell import children, ip, kill, remember, remembered, shell, wait_for
from tests.lab.switch import NETNS, Switch

# The shell is the first process of the host: its `wait` reaps what nobody else does.
INIT = """\
set -e
folder=$1 name=$2
hostname "$name"
mount --bind "$folder/run" /run
for part in etc:/etc/libvirt lib:/var/lib/libvirt log:/var/log/libvirt cache:/var/cache/libvirt; do
    mkdir -p "${part#*:}"
    mount --bind "$folder/${part%%:*}" "${part#*:}"
done
mount --bind "$folder/../hosts" /etc/hosts
echo ready >"$folder/ready"
while :; do sleep 3600 & wait $!; done
"""
NAMESPACES = (
    *("unshare", "--mount", "--propagation", "private", "--uts", "--ipc"),
    *("--pid", "--mount-proc", "--fork", "--kill-child=KILL"),
)
QEMU = """\
user = "root"
group = "root"
security_driver = "none"
cgroup_controllers = [ ]
namespaces = [ ]
remember_owner = 0
dynamic_ownership = 0
stdio_handler = "file"
vnc_listen = "0.0.0.0"
migration_address = "0.0.0.0"
migration_host = "{address}"
"""
LIBVIRTD = """\
host_uuid = "{uuid}"
auth_unix_ro = "none"
auth_unix_rw = "none"
unix_sock_group = "root"
listen_tls = 0
listen_tcp = 1
listen_addr = "{address}"
auth_tcp = "none"
log_outputs = "3:file:/var/log/libvirt/libvirtd.log"
"""


def _say_nothing(_: None, error: list[Any]) -> None:
    """Errors are raised; libvirt would print each too."""


libvirt.registerErrorHandler(_say_nothing, None)  # pyright: ignore[reportUnknownMemberType]


class Host:
    """Its files are in `folder`: state, logs, and what stands at /run, /etc/libvirt and so on."""

    def __init__(self, plan: Plan, folder: Path, prefix: str, switch: Switch) -> None:
        self.plan, self.name, self.folder = plan, plan.name, folder
        self.namespace = f"{prefix}-{plan.name}"
        self.address = f"{switch.net}.{plan.number}"
        self._switch = switch
        self._started: list[subprocess.Popen[bytes]] = []
        self._open: libvirt.virConnect | None = None

    # -- power -----------------------------------------------------------------------------

    @property
    def init(self) -> int:
        """The pid of its first process; 0 if the host is off."""
        return remembered(self.folder / "init.pid")

    def power_on(self, keep: bool = False) -> None:
        """Namespaces and cables; libvirtd if it has guests. It dies with us, unless kept."""
        for part in ("etc", "lib/qemu", "log", "cache", "state"):
            (self.folder / part).mkdir(parents=True, exist_ok=True)
        shell("rm", "-rf", str(self.folder / "run"), str(self.folder / "ready"))
        (self.folder / "run" / "libvirt").mkdir(parents=True)
        ip(f"netns add {self.namespace}")
        self._switch.plug(self.name, self.namespace)
        ip(
            "link set lo up",
            f"addr add {self.address}/24 dev mgmt0",
            "link set mgmt0 up",
            "link add br-pub type bridge forward_delay 0 mcast_snooping 0",
            "link set pub0 master br-pub up",
            "link set br-pub up",
            f"route add default via {self._switch.net}.1",
            namespace=self.namespace,
        )
        die = () if keep else ("setpriv", "--pdeathsig", "KILL")
        command = ["nsenter", f"--net={NETNS / self.namespace}", *die, *NAMESPACES]
        command += ["sh", "-c", INIT, "init", str(self.folder), self.name]
        outer = self._spawn(command, self.folder / "init.log")
        wait_for((self.folder / "ready").exists, f"{self.name} has its namespaces")
        [init] = children(outer)
        remember(self.folder / "init.pid", init)
        if self.plan.guests:
            self.start_libvirtd()

    def power_off(self) -> None:
        """At once, and everything on it: kill -9 of its first process.

        The kernel takes a dead host's network apart when it has time; until then it would answer.
        """
        self._switch.unplug(self.name)
        kill(self.init)
        self._gone()
        with suppress(AssertionError):
            ip(f"netns del {self.namespace}")

    def _gone(self) -> None:
        wait_for(lambda: not self.init, f"{self.name} is off")
        for process in self._started:
            process.wait()
        self._started.clear()

    # -- commands --------------------------------------------------------------------------

    def entering(self, *command: str) -> list[str]:
        """The command line that runs the command on this host."""
        init = self.init
        assert init, f"{self.name} is off"
        return ["nsenter", "-t", str(init), "-m", "-u", "-i", "-n", "-p", "--", *command]

    def run(self, *command: str, check: bool = True) -> str:
        """Run it there to the end; answers its output."""
        return shell(*self.entering(*command), check=check)

    def start(self, name: str, *command: str) -> int:
        """Run it there in the background; answers its pid, as this machine counts.

        Its output goes to NAME.log, its pid to NAME.pid.
        """
        outer = self._spawn(self.entering(*command), self.folder / f"{name}.log")
        pid = wait_for(lambda: next(iter(children(outer)), 0), f"{name} begins on {self.name}")
        remember(self.folder / f"{name}.pid", pid)
        return pid

    def pid(self, name: str) -> int:
        """Of what was started under the name; 0 if it has ended."""
        return remembered(self.folder / f"{name}.pid")

    def popen(self, *command: str) -> subprocess.Popen[str]:
        """Run it there, with pipes."""
        pipe = subprocess.PIPE
        return subprocess.Popen(
            self.entering(*command), stdin=pipe, stdout=pipe, stderr=pipe, text=True
        )

    def _spawn(self, command: Sequence[str], log: Path) -> int:
        with log.open("ab") as output:
            process = subprocess.Popen(
                command,
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=output,
                start_new_session=True,
            )
        self._started = [p for p in self._started if p.poll() is None] + [process]
        return process.pid

    def log(self, name: str) -> str:
        """What was written by what was started under the name."""
        with suppress(FileNotFoundError):
            return (self.folder / f"{name}.log").read_text(errors="replace")
        return ""

    # -- libvirt ---------------------------------------------------------------------------

    @property
    def libvirt(self) -> str:
        """Where its libvirtd answers, for whoever is on this machine."""
        return f"qemu+unix:///system?socket={self.folder}/run/libvirt/libvirt-sock"

    def start_libvirtd(self) -> None:
        """And wait until it answers."""
        etc, own = self.folder / "etc", uuid.uuid5(uuid.NAMESPACE_OID, self.namespace)
        (etc / "qemu.conf").write_text(QEMU.format(address=self.address))
        (etc / "libvirtd.conf").write_text(LIBVIRTD.format(address=self.address, uuid=own))
        (self.folder / "run/libvirt/libvirtd.pid").unlink(missing_ok=True)
        self.start("libvirtd", "libvirtd", "-l", "-p", "/run/libvirt/libvirtd.pid")

        def answers() -> bool:
            assert self.pid("libvirtd"), f"libvirtd ended: {self.log('libvirtd')}"
            command = ("virsh", "-q", "-c", self.libvirt, "uri")
            return bool(shell(*command, check=False))

        wait_for(answers, f"libvirtd of {self.name} answers")

    def virsh(self, *words: str) -> str:
        return shell("virsh", "-q", "-c", self.libvirt, *words)

    def machines(self) -> set[str]:
        """The ids of the machines that really run here; none if the host is off.

        One that is still arriving is paused, and does not count. Asked many times a second, so
        on one connection. AssertionError if libvirtd does not answer.
        """
        if not self.init:
            self._open = None
            return set()
        try:
            asked = self._open = self._open or libvirt.open(self.libvirt)  # pyright: ignore[reportUnknownMemberType]
            found = asked.listAllDomains(libvirt.VIR_CONNECT_LIST_DOMAINS_RUNNING)
            return {domain.UUIDString() for domain in found}
        except libvirt.libvirtError as error:
            self._open = None
            raise AssertionError(f"libvirtd of {self.name}: {error}") from error
