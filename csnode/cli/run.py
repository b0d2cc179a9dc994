"""Playing the roles: the event loop, the signals, and what systemd is told."""

from __future__ import annotations

import asyncio
import gc
import signal

import uvloop

from csnode import log
from csnode.cli import systemd
from csnode.config import Config, LogConfig
from csnode.node import Node

SIGNALS = (signal.SIGTERM, signal.SIGINT)


def play(config: Config) -> int:
    """Play until told to stop; answers the exit code. Raises the Fault that ended it."""
    logging = config.section("log", LogConfig)
    log.start(logging.level, logging.form)
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        return runner.run(_until_stopped(Node(config, settled=settle_memory)))


def settle_memory() -> None:
    """What is there now stays: the collector need not walk it again and again.

    With the usual thresholds it takes a third of the CPU of a busy data service; what a request
    leaves behind is freed by reference counts.
    """
    gc.collect()
    gc.freeze()
    gc.set_threshold(20_000, 20, 50)


async def _until_stopped(node: Node) -> int:
    loop = asyncio.get_running_loop()
    playing = asyncio.ensure_future(node.run())
    heard = 0

    def hear(number: int) -> None:
        """A node that serves finishes its work; one that starts or drains is left at once."""
        nonlocal heard
        heard = number
        if node.ready:
            node.stop()
        else:
            playing.cancel()

    for number in SIGNALS:
        loop.add_signal_handler(number, hear, number)
    telling = asyncio.ensure_future(systemd.keep_told(node))
    try:
        await playing
    except asyncio.CancelledError:
        if not heard:
            raise
        return 128 + heard
    finally:
        telling.cancel()
        for number in SIGNALS:
            loop.remove_signal_handler(number)
    return 0
