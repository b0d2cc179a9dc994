"""`csnode why`: what was asked, done and seen about an object, as one story."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from typing import Any, NamedTuple

import click
import msgspec

from csnode import clock, log
from csnode.cli import joined, show
from csnode.cli.chain import Chain, JobSeen, Write, chains
from csnode.cli.chosen import Chosen
from csnode.config import Config
from csnode.model.event import UserEvent
from csnode.model.job import Job

WIDTH = 60  # of a value
STEPS = frozenset({"times", "results", "started"})
"""Columns of a job that its steps tell better."""
USUAL = frozenset({"account", "domain", "zone", "user", "created", "trace"})
"""Columns that say nothing of a new row that its chain does not say."""


@click.command("why", short_help="What led to an object's state: calls, jobs, steps, commits.")
@click.argument("object_id", metavar="OBJECT")
@click.option(
    "--limit",
    type=click.IntRange(1, 10_000),
    default=500,
    show_default=True,
    help="How many entries of the feed to read for the object and for each trace.",
)
@show.output_option()
@click.pass_obj
def command(chosen: Chosen, object_id: str, limit: int, output: str) -> None:
    """Print the causal chain of an object: any id, or a trace id (an answer's X-Trace-Id).

    Each chain is one trace: the API call, who sent it, the job with its steps and their times,
    every commit with the columns it changed and who made it, and what was seen and told
    afterwards. Times count from the chain's first moment. It reaches back as far as the feed does
    ([data] feed_keep). Secrets are not shown.
    """
    log.start("error", "text")
    found = asyncio.run(_look(chosen.config(), object_id, limit))
    if output == "json":
        show.as_json({"object": object_id, "chains": msgspec.to_builtins(found)})
        return
    for chain in found:
        print("\n".join(_told(chain)))
        print()


async def _look(config: Config, object_id: str, limit: int) -> list[Chain]:
    async with joined.joined(config) as bus:
        return await chains(joined.store(bus), object_id, limit)


class Line(NamedTuple):
    """One thing that happened. Of things at one moment, outer layers come first."""

    at: float
    layer: int
    order: int
    text: str


def _told(chain: Chain) -> Iterator[str]:
    lines = sorted(_lines(chain))
    began = lines[0].at
    what = f"trace {chain.trace}" if chain.trace else "in no trace: what roles did by themselves"
    yield f"{clock.stamp(began)}  {what}"
    for line in lines:
        yield f"{line.at - began:+10.3f}  {'  ' * line.layer}{line.text}"


def _lines(chain: Chain) -> Iterator[Line]:
    for call in chain.calls:
        who = f" by {call.user}" if call.user else ""
        yield Line(call.at, 0, 0, f"call {call.command}{who} (account {call.account or '?'})")
    for job in chain.jobs:
        yield from _job_lines(job)
    for event in chain.events:
        yield Line(event.at, 1, 0, f"event {event.type} {event.level}: {event.description}")
    for write in chain.commits:
        if write.kind != UserEvent.kind:  # told above
            yield _write_line(write)


def _job_lines(job: JobSeen) -> Iterator[Line]:
    yield Line(job.created, 1, 0, f"job {job.verb} {job.id} for {job.object}")
    for number, step in enumerate(job.steps):
        took = f"{(step.ended - step.began) * 1000:.0f} ms" if step.ended else "not ended"
        tries = f", {step.tries} tries" if step.tries > 1 else ""
        yield Line(step.began, 2, number, f"step {step.step}: {took}{tries}")
    if job.ended:
        fault = f": {job.fault}" if job.fault else ""
        yield Line(job.ended, 1, 1, f"job {job.verb} is {job.state}{fault}")


def _write_line(write: Write) -> Line:
    word = "fact" if write.fact else "commit"
    said = f"{word} #{write.number} {write.by or '?'}: {write.kind} {write.id} {write.what}"
    if write.changed is None:
        said += " (what it was before is no longer in the feed)"
    elif write.changed:
        dull: set[str] = set(USUAL) if write.what == "created" else set()
        dull |= STEPS if write.kind == Job.kind else set()
        columns = {k: v for k, v in write.changed.items() if k not in dull}
        said += "".join(f" {k}={_shown(v)}" for k, v in columns.items())
        said += "" if columns else f" ({', '.join(write.changed)})"
    return Line(write.at, 3, write.number, said)


def _shown(value: Any) -> str:
    text = value if isinstance(value, str) else msgspec.json.encode(value).decode()
    text = text if text and text.isprintable() and " " not in text else repr(text)
    return text if len(text) <= WIDTH else f"{text[: WIDTH - 3]}..."
