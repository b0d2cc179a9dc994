"""What systemd is told: that we are ready, that we still are, and that we leave.

The protocol is one datagram to the socket in $NOTIFY_SOCKET; see sd_notify(3).
"""

from __future__ import annotations

import asyncio
import os
import socket

from csnode.health import HealthState

POLL_S = 0.1  # while starting; afterwards half the watchdog's time


async def keep_told(node: HealthState) -> None:
    """Tell systemd of the node until cancelled; does nothing where nobody asked for it."""
    if not os.environ.get("NOTIFY_SOCKET"):
        return
    pause_s = int(os.environ.get("WATCHDOG_USEC", "20000000")) / 2e6
    was_ready = False
    try:
        while node.ready or not was_ready:
            if node.ready:
                tell("WATCHDOG=1" if was_ready else "READY=1")
                was_ready = True
            await asyncio.sleep(pause_s if was_ready else POLL_S)
    finally:  # a node may have left before the pause is over
        tell("STOPPING=1")


def tell(state: str) -> None:
    """Send one notification; a systemd that cannot be reached is not our trouble."""
    address = os.environ.get("NOTIFY_SOCKET", "")
    if address.startswith("@"):
        address = f"\0{address[1:]}"
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM | socket.SOCK_CLOEXEC) as notified:
        try:
            notified.sendto(state.encode(), address)
        except OSError:
            return
