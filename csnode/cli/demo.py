"""`csnode demo`: a whole cloud on this machine, and one real machine in it."""

from __future__ import annotations

import asyncio
import os
import shutil
import signal
import sys
from contextlib import suppress
from pathlib import Path

import aiohttp
import click

from csnode import log
from csnode.cli import ending
from csnode.cli.client import Client
from csnode.cli.joined import joined
from csnode.cli.machine import PATH
from csnode.cli.stage import CHECKOUT, SERVE_LIBVIRTD, START_S, Stage, free_port
from csnode.cli.story import Story
from csnode.clock import now
from csnode.config import Config
from csnode.faults import Denied, Fault, Invalid, Unavailable

IMAGE = CHECKOUT / ".cache/guest/tiny.qcow2"
CHECKSUM = IMAGE.with_name("tiny.qcow2.sha256")
UNMAKE_S = 60.0


@click.command("demo", short_help="A whole cloud here, with one real machine in it.")
@click.option("--once", is_flag=True, help="End by itself once the guest answers.")
@click.option("--uri", default="", help="A libvirtd to use instead of a private one.")
@click.option("--port", default=8080, show_default=True, help="Of the API, if nobody has it.")
def command(once: bool, uri: str, port: int) -> None:
    """Start a cloud, deploy one machine through its API, and show each step.

    It needs root and `make guest`. libvirtd, csnode with all roles on SQLite, and their files
    are private to the demo; Ctrl-C, at any moment, ends and removes everything.
    """
    _check(uri)
    log.start("error", "text")
    os.environ["PATH"] = PATH
    stage = Stage(IMAGE.parent, uri, free_port(port))
    try:
        asyncio.run(_interruptible(stage, once))
    except asyncio.CancelledError:
        sys.exit(ending.INTERRUPTED)


def _check(uri: str) -> None:
    if os.geteuid() != 0:
        raise Denied("csnode demo makes machines, bridges and namespaces: run it as root")
    if not IMAGE.exists():
        raise Invalid(f"there is no guest image at {IMAGE}; make guest builds it")
    needed = ["ip", "ping", "setpriv", "unshare", *([] if uri else ["libvirtd"])]
    missing = [tool for tool in needed if shutil.which(tool, path=PATH) is None]
    if missing or not SERVE_LIBVIRTD.exists():
        raise Invalid(f"{', '.join(missing) or SERVE_LIBVIRTD} is missing; config/setup.sh helps")


async def _interruptible(stage: Stage, once: bool) -> None:
    """Let Ctrl-C lead to the way out; a second one takes the short way."""
    loop = asyncio.get_running_loop()
    telling = asyncio.ensure_future(_tell(stage, once))
    for number in (signal.SIGINT, signal.SIGTERM):
        loop.add_signal_handler(number, telling.cancel)
    await telling


async def _tell(stage: Stage, once: bool) -> None:
    try:
        with stage:
            try:
                await _play(stage, once)
            except Fault:
                if said := stage.log("csnode", 20):
                    print(f"\nthe last that csnode said:\n{said}\n", file=sys.stderr)
                raise
            finally:
                print("\nending csnode and libvirtd", flush=True)
    finally:
        print("nothing is left behind", flush=True)


async def _play(stage: Stage, once: bool) -> None:
    async with aiohttp.ClientSession() as session:
        client = Client(session, stage.url, stage.key, stage.secret)
        print(f"csnode demo: all roles, in {stage.folder}", flush=True)
        await stage.start_libvirtd()
        stage.start_csnode()
        async with joined(Config.read(stage.file, {}, {})) as bus:
            story = Story(client, bus, stage.names)
            story.say("libvirtd", stage.uri)
            await _ready(stage, session)
            story.say("csnode", f"every role is ready; the API is at {stage.url}")
            try:
                await _show(story, once, stage)
            finally:
                print("\nremoving the machine and its network", flush=True)
                with suppress(TimeoutError):
                    async with asyncio.timeout(UNMAKE_S):
                        await story.unmake()


async def _ready(stage: Stage, session: aiohttp.ClientSession) -> None:
    """Wait until /readyz says so.

    Raises Unavailable, with what it says instead, if that takes too long.
    """
    said = "the api role is not open"
    until = now() + START_S
    while now() < until:
        stage.check_csnode()
        with suppress(aiohttp.ClientError):
            async with session.get(stage.url.replace("/client/api", "/readyz")) as answer:
                if answer.status == 200:
                    return
                said = await answer.text()
        await asyncio.sleep(0.05)
    raise Unavailable(f"csnode is not ready after {START_S:.0f} s: {said}")


async def _show(story: Story, once: bool, stage: Stage) -> None:
    checksum = (await asyncio.to_thread(CHECKSUM.read_text)).split()[0]
    zone = await story.place()
    offering = await story.offering()
    template = await story.template(zone, IMAGE, checksum)
    network = await story.network(zone)
    machine = await story.machine(
        zoneid=zone, serviceofferingid=offering, templateid=template, networkids=network
    )
    await story.console(machine["id"], machine["hostid"])
    address = machine["nic"][0]["ipaddress"]
    await story.ping(address)
    story.say("READY", f"{machine['name']} at {address}")
    if once:
        return
    _how_to_go_on(stage)
    try:
        await asyncio.Event().wait()
    except asyncio.CancelledError:  # the way it is meant to end
        if task := asyncio.current_task():
            task.uncancel()


def _how_to_go_on(stage: Stage) -> None:
    cs = Path(sys.executable).with_name("cs")
    csnode = Path(sys.executable).with_name("csnode")
    print(
        f"""
Go on in another terminal:
    export CLOUDSTACK_ENDPOINT={stage.url}
    export CLOUDSTACK_KEY={stage.key} CLOUDSTACK_SECRET={stage.secret}
    {cs} listVirtualMachines
    {cs} stopVirtualMachine id=$ID
    {csnode} --config {stage.file} status
    curl {stage.url.replace("/client/api", "/healthz?verbose")}
    ip netns; virsh -c '{stage.uri}' list
Ctrl-C ends it all and leaves nothing behind.""",
        flush=True,
    )
