"""The dnsmasq of one router: DHCP and DNS, running on by itself whether csnode does or not.

It is known by its command line, which names a configuration file by what is in it: whoever runs
with that file, in that namespace, is ours and as told. What dnsmasq(8) does of its own: a new
file in the hosts folders counts at once, a changed or deleted one after SIGHUP; a lease stays
with its card until it is released, even if the card is gone.
"""

from __future__ import annotations

import asyncio
import os
import signal
from collections.abc import Iterable
from contextlib import suppress
from pathlib import Path

from csnode.clock import now
from csnode.faults import Refused, Unavailable
from csnode.model.machine import GuestNic
from csnode.types import Struct
from roles.network.drivers import render
from roles.network.drivers.command import run_daemon
from roles.network.drivers.namespace import PLACE
from roles.network.drivers.told import Told, make_open, write_whole

STOP_WITHIN_S = 3.0
DYING_S, DYING_TRIES = 2.0, 40  # how long a killed one may keep its sockets
USER = "dnsmasq"  # what it becomes once it has its sockets
FLAG = "--conf-file="


class Daemon(Struct):
    """One dnsmasq process."""

    pid: int
    conf: str
    inode: int  # of its network namespace


def running() -> list[Daemon]:
    """Find every dnsmasq of this machine that was started with a configuration file."""
    found: list[Daemon] = []
    for entry in os.scandir("/proc"):
        if not entry.name.isdigit():
            continue
        with suppress(OSError):  # it may end while we look
            words = Path(entry.path, "cmdline").read_bytes().split(b"\0")
            if not words[0].endswith(b"dnsmasq"):
                continue
            inode = os.stat(f"{entry.path}/ns/net").st_ino
            found += [
                Daemon(pid=int(entry.name), conf=word.decode()[len(FLAG) :], inode=inode)
                for word in words
                if word.startswith(FLAG.encode())
            ]
    return found


def of_folder(daemons: Iterable[Daemon], folder: Path) -> list[Daemon]:
    """Return those that serve the network whose folder that is."""
    return [d for d in daemons if Path(d.conf).parent == folder]


def conf_of(told: Told, mtu: int) -> tuple[Path, str]:
    """Return the configuration file and its text; the name follows from the text."""
    text = render.dnsmasq_conf(told.network, str(told.dnsmasq), mtu)
    return told.dnsmasq / f"{render.digest(text)}.conf", text


def serves(daemons: Iterable[Daemon], told: Told, inode: int, mtu: int) -> bool:
    """Tell whether exactly one runs for the network: as told, and in that namespace."""
    found = of_folder(daemons, told.dnsmasq)
    conf = str(conf_of(told, mtu)[0])
    return len(found) == 1 and found[0].conf == conf and found[0].inode == inode


async def start(told: Told, namespace: str, mtu: int) -> None:
    """Write all it reads and start it; none must be running.

    One that was killed a moment ago shows no command line any more, but the kernel may not have
    closed its sockets yet (exit_mm comes before exit_files): so the address may be in use still.
    """
    conf, text = conf_of(told, mtu)
    _write_all(told, conf, text)
    for left in reversed(range(DYING_TRIES)):
        try:
            await run_daemon("nsenter", f"--net={PLACE / namespace}", "dnsmasq", f"{FLAG}{conf}")
        except Refused as refused:
            if not left or "Address already in use" not in refused.message:
                raise
            await asyncio.sleep(DYING_S / DYING_TRIES)
        else:
            return


async def stop(daemons: Iterable[Daemon]) -> None:
    """End them, gently and then not."""
    for daemon in daemons:
        try:
            handle = os.pidfd_open(daemon.pid)
        except ProcessLookupError:
            continue
        try:
            if not any(d.pid == daemon.pid and d.conf == daemon.conf for d in running()):
                continue  # it ended, and its number may be somebody else's by now
            await _end(handle)
        finally:
            os.close(handle)


def hang_up(daemons: Iterable[Daemon]) -> None:
    """Have them read their hosts folders again."""
    for daemon in daemons:
        with suppress(ProcessLookupError):
            os.kill(daemon.pid, signal.SIGHUP)


def write_card(told: Told, nic: GuestNic) -> None:
    """Write the card's lease and name, as files; a running dnsmasq takes new ones in at once.

    The name first: the lease carries it.
    """
    write_whole(told.dnsmasq / "hosts" / nic.nic, render.hosts_line(nic).encode())
    write_whole(told.dnsmasq / "dhcp" / nic.nic, render.lease_line(nic).encode())


def drop_card(told: Told, nic: str) -> None:
    """Remove the card's files; hang up to make it count."""
    for part in ("dhcp", "hosts"):
        (told.dnsmasq / part / nic).unlink(missing_ok=True)


def leases(told: Told) -> dict[str, str]:
    """Read address to MAC address of every lease given out (a line's second and third word)."""
    try:
        lines = (told.dnsmasq / "leases").read_text().splitlines()
    except FileNotFoundError:
        return {}
    words = [line.split() for line in lines]
    return {w[2]: w[1] for w in words if len(w) >= 4}


def drop_lease(told: Told, address: str) -> None:
    """Take a lease out of the file while no dnsmasq runs."""
    file = told.dnsmasq / "leases"
    with suppress(FileNotFoundError):
        lines = file.read_text().splitlines(keepends=True)
        file.write_text("".join(line for line in lines if line.split()[2:3] != [address]))


async def wait_released(told: Told, address: str) -> bool:
    """Wait; return whether the lease is gone within a second."""
    until = now() + 1.0
    while address in leases(told):
        if now() > until:
            return False
        await asyncio.sleep(0.005)
    return True


def check_folder(folder: Path) -> None:
    """Raise Refused if the user dnsmasq could not pass to the folder: no lease would be given."""
    for part in (folder, *folder.parents):
        if part.exists() and not part.stat().st_mode & 0o001:
            raise Refused(
                f"dnsmasq, which runs as user {USER}, cannot read below {part}: "
                f"chmod o+x {part}, or set another [node] state"
            )


def _write_all(told: Told, conf: Path, text: str) -> None:
    """Write what is told now; only that is there afterwards, but for the leases given out."""
    make_open(told.dnsmasq)
    for part in ("dhcp", "hosts"):
        folder = told.dnsmasq / part
        make_open(folder)
        for file in folder.iterdir():
            if file.name not in told.nics:
                file.unlink()
    for nic in told.nics.values():
        write_card(told, nic)
    for old in told.dnsmasq.glob("*.conf"):
        old.unlink()
    write_whole(conf, text.encode())


async def _end(handle: int) -> None:
    loop = asyncio.get_running_loop()
    ended = asyncio.Event()
    loop.add_reader(handle, ended.set)  # a pidfd is readable once its process has ended
    try:
        for sign in (signal.SIGTERM, signal.SIGKILL):
            with suppress(ProcessLookupError):
                signal.pidfd_send_signal(handle, sign)
            with suppress(TimeoutError):
                async with asyncio.timeout(STOP_WITHIN_S):
                    await ended.wait()
                    return
        raise Unavailable("dnsmasq does not end, not even by force")
    finally:
        loop.remove_reader(handle)
