"""`csnode sim`: a whole cloud under bad weather, in virtual time. One seed, one story."""

from __future__ import annotations

import os
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor
from functools import partial
from typing import TYPE_CHECKING, NamedTuple

import click
import msgspec

from csnode.cli import show

if TYPE_CHECKING:
    from csnode.testing.ledger import Ledger
    from csnode.testing.trial import Outcome


MANY = 200  # worlds, in which each command that acts must have been accepted once


class Told(NamedTuple):
    """What came of one seed, as one process tells another."""

    seed: int
    violations: tuple[str, ...]
    jobs: int
    ledger: Ledger | None = None


@click.command("sim", short_help="A cloud in virtual time, with crashes.")
@click.option("--seed", type=int, help="Replay this seed, and print its story.")
@click.option("--seeds", default="0-99", show_default=True, metavar="FIRST-LAST",
              help="Without --seed: try all of these.")  # fmt: skip
@click.option("--ha", is_flag=True, help="Worlds in which hosts fail: power cuts, partitions.")
@click.option("--workers", type=int, default=0, help="Processes; 0: one per core.")
@show.output_option()
def command(seed: int | None, seeds: str, ha: bool, workers: int, output: str) -> int:
    """Play whole clouds in virtual time: real roles, simulated network, disk and hardware.

    The seed decides every delay, loss, partition, pause and crash. Each world works under load
    while things go wrong, is then left in peace, and is judged: every accepted job ended, nothing
    acknowledged was lost, and what hosts have is what the records say. It needs no cloud, no root
    and no configuration. Tables at the end tell how often each command was accepted, and how the
    jobs of each saga ended.

    \b
      csnode sim --seeds 0-499      500 worlds; the seeds that failed are named
      csnode sim --seed 17          the story of that one
      csnode sim --ha               worlds in which hosts fail: no machine may ever run twice

    The exit code is 1 if something promised was not kept.
    """
    if seed is not None:
        return _replay(seed, ha, output)
    first, _, last = seeds.partition("-")
    if not (first.isdigit() and (last or first).isdigit()):
        raise click.UsageError(f"--seeds {seeds}: expected FIRST-LAST, for example 0-499")
    return _try_all(range(int(first), int(last or first) + 1), ha, workers, output)


def _replay(seed: int, ha: bool, output: str) -> int:
    outcome = _player(ha)(seed)
    if output == "json":
        show.as_json({"seed": seed, "digest": outcome.digest, "violations": outcome.violations,
                      "story": outcome.story.splitlines()})  # fmt: skip
    else:
        print(outcome.story)
        print(f"\nseed {seed}: {outcome.jobs} jobs in {outcome.seconds:.0f} s of virtual time; "
              f"story {outcome.digest[:16]}")  # fmt: skip
        for violation in outcome.violations:
            print(f"VIOLATION {violation}")
    return 1 if outcome.violations else 0


def _try_all(seeds: Sequence[int], ha: bool, workers: int, output: str) -> int:
    from csnode.testing.ledger import Ledger

    began = time.monotonic()
    failed: list[Told] = []
    jobs, ledger = 0, Ledger()
    for done, told in enumerate(_outcomes(seeds, ha, workers or os.cpu_count() or 1), 1):
        jobs += told.jobs
        if told.ledger is not None:
            ledger.add(told.ledger)
        if told.violations:
            failed.append(told)
            for violation in told.violations:
                print(f"seed {told.seed}: {violation}", file=sys.stderr)
        if done % 100 == 0 and sys.stderr.isatty():
            print(f"{done} of {len(seeds)} worlds", file=sys.stderr)
    took = time.monotonic() - began
    per_minute = len(seeds) / took * 60
    if output == "json":
        found = [{"seed": t.seed, "violations": t.violations} for t in failed]
        show.as_json({"worlds": len(seeds), "failed": found, "jobs": jobs,
                      "worlds_per_minute": round(per_minute, 1),
                      "commands": msgspec.to_builtins(ledger.commands),
                      "sagas": ledger.sagas})  # fmt: skip
    else:
        _print_ledger(ledger, ha)
        print(f"{len(seeds)} worlds, {jobs} jobs, {len(failed)} worlds with violations; "
              f"{took:.0f} s, {per_minute:.0f} worlds a minute")  # fmt: skip
        for told in failed:
            print(f"again: csnode sim {'--ha ' if ha else ''}--seed {told.seed}")
    lacking = [] if ha or len(seeds) < MANY else _lacking(ledger)
    for each in lacking:
        print(f"in {len(seeds)} worlds {each}", file=sys.stderr)
    return 1 if failed or lacking else 0


def _lacking(ledger: Ledger) -> list[str]:
    """Return what so many worlds did not prove, as they should have."""
    from csnode.plugins import found
    from csnode.testing.draw import acting

    never = [f"{name} was never accepted" for name in ledger.never_accepted(acting())]
    return never + [f"no job of {verb} was done" for verb in ledger.never_done(found("sagas"))]


def _print_ledger(ledger: Ledger, ha: bool) -> None:
    """Print the commands that act, those that no client sent included, and the sagas."""
    from csnode.testing.draw import acting
    from csnode.testing.ledger import table_of_commands, table_of_sagas

    columns = ("command", "sent", "accepted", "refused", "unanswered", "mostly refused because")
    show.table("COMMANDS", columns, table_of_commands(ledger, () if ha else acting()))
    show.table("SAGAS", ("saga", "done", "failed", "stuck"), table_of_sagas(ledger))


def _outcomes(seeds: Sequence[int], ha: bool, workers: int) -> Iterator[Told]:
    with ProcessPoolExecutor(workers) as pool:
        yield from pool.map(partial(_one, ha), seeds, chunksize=5)


def _player(ha: bool) -> Callable[[int], Outcome]:
    """Return what plays the world of a seed."""
    if ha:
        from csnode.testing.survival import survived

        return survived
    from csnode.testing.trial import tried

    return tried


def _one(ha: bool, seed: int) -> Told:
    """Play one, in a process of the pool."""
    import gc

    gc.set_threshold(100_000, 20, 100)  # a world makes little garbage, and is soon over
    try:
        outcome = _player(ha)(seed)
    except Exception as error:  # noqa: BLE001 (a world that breaks is a finding too)
        return Told(seed, (f"the world broke: {type(error).__name__}: {error}",), 0)
    return Told(seed, outcome.violations, outcome.jobs, outcome.ledger)
