"""Playing the roles: the event loop, the signals, and what systemd is told."""

from __future__ import annotations

import asyncio
import gc
import signal
from collections.abc import Callable

import uvloop

from csnode import log
from csnode.cli import systemd
from csnode.config import Config, LogConfig
from csnode.faults import Fault, Invalid
from csnode.log import logger
from csnode.node import Node

SIGNALS = (signal.SIGTERM, signal.SIGINT)


def play(read: Callable[[], Config]) -> int:
    """Play until told to stop; answers the exit code. Raises the Fault that ended it."""
    config = read()
    _start_log(config)
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        return runner.run(_until_stopped(Node(config, settled=settle_memory), read))


def reload(read: Callable[[], Config]) -> None:
    """Do what SIGHUP does: [log] counts as it is now in the configuration; nothing else does."""
    try:
        _start_log(read())
    except Fault as fault:
        logger("run").warning("the configuration is wrong; the old one counts", why=fault.message)
    else:
        logger("run").info("[log] was read again; everything else takes a restart")


def _start_log(config: Config) -> None:
    logging = config.section("log", LogConfig)
    try:
        log.start(logging.level, logging.form)
    except KeyError:
        raise Invalid(
            f"[log] level: there is no {logging.level!r}, but debug, info, error"
        ) from None


def settle_memory() -> None:
    """Freeze what is there now: the collector need not walk it again and again.

    With the usual thresholds it takes a third of the CPU of a busy data service; what a request
    leaves behind is freed by reference counts.
    """
    gc.collect()
    gc.freeze()
    gc.set_threshold(20_000, 20, 50)


async def _until_stopped(node: Node, read: Callable[[], Config]) -> int:
    loop = asyncio.get_running_loop()
    playing = asyncio.ensure_future(node.run())
    heard = 0

    def hear(number: int) -> None:
        """Take a signal.

        A node that serves finishes its work; one that starts or drains is left at once.
        """
        nonlocal heard
        heard = number
        if node.ready:
            node.stop()
        else:
            playing.cancel()

    for number in SIGNALS:
        loop.add_signal_handler(number, hear, number)
    loop.add_signal_handler(signal.SIGHUP, reload, read)
    telling = asyncio.ensure_future(systemd.keep_told(node))
    try:
        await playing
    except asyncio.CancelledError:
        if not heard:
            raise
        return 128 + heard
    finally:
        telling.cancel()
        for number in (*SIGNALS, signal.SIGHUP):
            loop.remove_signal_handler(number)
    return 0
