"""`csnode verify`: whether the cloud keeps its promises, and if not, what cures it."""

from __future__ import annotations

import asyncio
import gc
from collections.abc import Sequence
from typing import Any

import click
import msgspec

from csnode import clock, log
from csnode.cli import joined, show
from csnode.cli.chosen import Chosen
from csnode.config import Config
from csnode.data.store import Store
from csnode.verify.finding import Finding
from csnode.verify.judge import Verdict, verify
from csnode.verify.repair import Done, cured

FOUND = 1


@click.command("verify", short_help="What is wrong in the cloud, and what cures it.")
@click.option("--repair", is_flag=True, help="Do the cures that cannot hurt, and judge again.")
@show.output_option()
@click.pass_context
def command(ctx: click.Context, repair: bool, output: str) -> None:
    """Hold the records against what hosts and pools really have, and against each other.

    It reads only, and leaves alone what a job is at work on. Each finding names the object, what
    is wrong with it, the likely cause and the cure. Exit code 0 if all is well, 1 if not.

    With --repair it does the cures that cannot hurt: it never deletes a disk. Bytes that nobody
    knows are set aside in their pool; an operator deletes them.
    """
    log.start("error", "text")
    gc.disable()  # all rows of a cloud, for a second or two: looking for garbage doubles that
    chosen: Chosen = ctx.obj
    took, done, verdict = asyncio.run(_judge(chosen.config(), repair))
    if output == "json":
        show.as_json(_plain(took, done, verdict))
    else:
        _tell(took, done, verdict)
    ctx.exit(0 if verdict.clean else FOUND)


async def _judge(config: Config, repair: bool) -> tuple[float, list[Done], Verdict]:
    async with joined.joined(config) as bus:
        await joined.members(bus)
        store = Store(bus, "", f"{config.node.host_name}/verify")
        began = clock.now()
        verdict = await verify(bus, store)
        took = clock.now() - began
        if not repair:
            return took, [], verdict
        return took, *await cured(bus, store, verdict)


def _plain(took: float, done: Sequence[Done], verdict: Verdict) -> dict[str, Any]:
    return {
        "clean": verdict.clean,
        "findings": [_finding(f) for f in verdict.findings],
        "notes": [_finding(f) for f in verdict.notes],
        "repaired": [
            {**_finding(one.finding), "did": one.did, "not done because": one.why} for one in done
        ],
        "looked at": verdict.looked_at,
        "commit": verdict.number,
        "seconds": round(took, 3),
    }


def _finding(finding: Finding) -> dict[str, Any]:
    """Show the finding as it is, but for the cure: what matters is whether there is a safe one."""
    plain: dict[str, Any] = msgspec.to_builtins(finding)
    del plain["repair"], plain["grave"]
    return {**plain, "safe cure": finding.repair is not None}


def _tell(took: float, done: Sequence[Done], verdict: Verdict) -> None:
    for one in done:
        result = one.did or f"not repaired: {one.why}"
        print(f"[~] {one.finding.check} {one.finding.id}: {result}")
    for finding in verdict.findings:
        print(f"[-] {finding.check} ({finding.promise}) {finding.kind} {finding.id}")
        print(f"      {finding.what}")
        print(f"      cause: {finding.cause}")
        print(f"      cure:  {finding.remedy}{' (--repair does it)' if finding.repair else ''}")
    for note in verdict.notes:
        print(f"[i] {note.check} {note.kind} {note.id}: {note.what}; {note.remedy}")
    seen = ", ".join(f"{count} {what}" for what, count in verdict.looked_at.items())
    wrong = len(verdict.findings)
    said = "all is well" if not wrong else f"{wrong} finding{'s' if wrong > 1 else ''}"
    print(f"{said}; looked at {seen}, in {took:.1f} s")
