"""A libvirtd of our own: in mount and process namespaces, so that it meets no other.

Everything it starts, guests included, is in one process namespace whose first process dies with
the test run, however that ends; so nothing is ever left behind.
"""

from __future__ import annotations

import shutil
import socket
import subprocess
import tempfile
import threading
import uuid
from contextlib import suppress
from pathlib import Path
from types import TracebackType
from typing import Self

_SETTLED = threading.Event()  # never set: waiting on it is a pause outside every event loop
_START_S = 20.0

_QEMU_CONF = """\
user = "root"
group = "root"
security_driver = "none"
cgroup_controllers = [ ]
migration_address = "0.0.0.0"
namespaces = [ ]
remember_owner = 0
dynamic_ownership = 0
stdio_handler = "file"
"""
_LIBVIRTD_CONF = """\
auth_unix_ro = "none"
auth_unix_rw = "none"
unix_sock_group = "root"
listen_tls = {tls}
listen_tcp = {tcp}
auth_tcp = "none"
log_outputs = "3:file:/var/log/libvirt/libvirtd.log"
"""
_DIES_WITH_US = ("setpriv", "--pdeathsig", "KILL")
_NAMESPACES = (
    *("unshare", "--mount", "--propagation", "private", "--uts"),
    *("--pid", "--mount-proc", "--fork", "--kill-child=KILL"),
)
# The shell is the first process of the namespace: its `wait` reaps guests, which libvirtd has
# let go of; a guest that stays as a zombie would count as running.
_INIT = """\
set -e
echo "$2" > /proc/sys/kernel/hostname
mount --bind "$1/run" /run
for part in etc:/etc/libvirt lib:/var/lib/libvirt log:/var/log/libvirt cache:/var/cache/libvirt; do
    mkdir -p "${part#*:}"
    mount --bind "$1/${part%%:*}" "${part#*:}"
done
mount --bind "$1/hosts" /etc/hosts
if [ -n "$3" ]; then mkdir -p /etc/pki; mount --bind "$3" /etc/pki; fi
echo ready
while :; do sleep 3600 & wait $!; done
"""


class PrivateLibvirtd:
    """Enter it to have a libvirtd at `uri`; leave it to end that, and every guest with it.

    One that is to be another host than this one has a name of its own; one in a network namespace
    listens there on libvirt's TCP port, for its peers.
    """

    def __init__(
        self, name: str = "", netns: str = "", pki: Path | None = None, **hosts: str
    ) -> None:
        """`hosts` are addresses of peers by name: looking one up elsewhere would take long.

        `pki` is what it has as /etc/pki; with that, its peers come by TLS only.
        """
        self.folder = Path(tempfile.mkdtemp(prefix="csnode-libvirtd-"))  # sockets: a short path
        self.name, self._netns, self._hosts = name or socket.gethostname(), netns, hosts
        self._pki = pki
        self.uri = f"qemu+unix:///system?socket={self._run}/libvirt-sock"

    @property
    def _run(self) -> Path:
        return self.folder / "run" / "libvirt"

    def __enter__(self) -> Self:
        for part in ("run/libvirt", "etc", "lib/qemu", "log", "cache"):
            (self.folder / part).mkdir(parents=True)
        (self.folder / "etc" / "qemu.conf").write_text(_QEMU_CONF)
        own = f'host_uuid = "{uuid.uuid4()}"\n'
        (self.folder / "etc" / "libvirtd.conf").write_text(
            _LIBVIRTD_CONF.format(tls=int(bool(self._pki)), tcp=int(not self._pki)) + own
        )
        # libvirtd looks its own host name up; where only DNS could tell, that takes 10 s a call
        known = [f"127.0.0.1 localhost {self.name}", *(f"{a} {n}" for n, a in self._hosts.items())]
        (self.folder / "hosts").write_text("\n".join(known) + "\n")
        into = ("nsenter", f"--net=/run/netns/{self._netns}") if self._netns else ()
        self._init = subprocess.Popen(
            (
                *_DIES_WITH_US,
                *into,
                *_NAMESPACES,
                "sh",
                "-c",
                _INIT,
                "init",
                str(self.folder),
                self.name,
                str(self._pki or ""),
            ),
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
        )
        try:
            assert self._init.stdout is not None
            assert self._init.stdout.readline() == b"ready\n", "no namespaces could be made"
            self.start()
        except BaseException:
            self.__exit__(None, None, None)
            raise
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._init.kill()  # the first process dies with it, and the kernel ends all the others
        self._init.communicate()
        shutil.rmtree(self.folder, ignore_errors=True)
        if self._pki is not None:
            with suppress(OSError):  # it is somebody's, or another one has it mounted
                Path("/etc/pki").rmdir()

    def start(self) -> None:
        """Start libvirtd, and wait until it answers."""
        for left in ("libvirtd.pid", "libvirt-sock"):
            (self._run / left).unlink(missing_ok=True)
        listen = ("-l",) if self._netns else ()
        self._inside("libvirtd", "-d", *listen, "-p", "/run/libvirt/libvirtd.pid")
        for _ in range(int(_START_S / 0.05)):
            if self.answers():
                return
            _SETTLED.wait(0.05)
        raise TimeoutError((self.folder / "log" / "libvirtd.log").read_text()[-2000:])

    def kill(self) -> None:
        """kill -9; guests run on."""
        self.signal("libvirtd", "KILL")

    def answers(self) -> bool:
        """Whether libvirtd is there."""
        return self._virsh("uri").returncode == 0

    def signal(self, process: str, signal: str) -> None:
        """Send a signal to libvirtd, or to the guest of that name."""
        file = "libvirtd.pid" if process == "libvirtd" else f"qemu/{process}.pid"
        pid = (self._run / file).read_text().strip()
        self._inside("kill", "-s", signal, pid)

    def alive(self, guest: str) -> bool:
        """Whether the guest's process is there."""
        file = self._run / "qemu" / f"{guest}.pid"
        if not file.exists():
            return False
        asked = self._inside("kill", "-0", file.read_text().strip(), check=False)
        return asked.returncode == 0

    def virsh(self, *words: str) -> str:
        """What the administrator of the host would type, and see."""
        done = self._virsh(*words)
        assert done.returncode == 0, done.stderr
        return done.stdout

    def tried(self, *words: str) -> str:
        """The same for what may be refused: nothing is seen then."""
        return self._virsh(*words).stdout

    def clear(self) -> None:
        """End and forget every domain."""
        for name in self.virsh("list", "--name").split():
            self.virsh("destroy", name)
        for name in self.virsh("list", "--all", "--name").split():
            self.virsh("undefine", name, "--nvram", "--managed-save", "--snapshots-metadata")

    def _virsh(self, *words: str) -> subprocess.CompletedProcess[str]:
        command = ("virsh", "-q", "-c", self.uri, *words)
        return subprocess.run(command, capture_output=True, text=True, check=False, timeout=60)

    def _inside(self, *command: str, check: bool = True) -> subprocess.CompletedProcess[bytes]:
        """Run a command in the namespaces of the first process."""
        children = Path(f"/proc/{self._init.pid}/task/{self._init.pid}/children").read_text()
        enter = ("nsenter", "-t", children.split()[0], "--mount", "--pid", "--net", "--uts", "--")
        return subprocess.run(
            enter + command,
            check=check,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            timeout=60,
        )
