"""`python -m tests.mutants` puts small mistakes into the code, one at a time, and runs its tests.

What no test notices is listed with its diff. Exit code 1: less than nine of ten were noticed.
"""

from __future__ import annotations

import argparse
import multiprocessing
import random
import sys
import tempfile
from collections import Counter, defaultdict
from pathlib import Path
from typing import Any, cast

from tests.mutants.equivalent import KNOWN
from tests.mutants.operators import mutants
from tests.mutants.run import PASSED, ROOT, Copy, Outcome, preload
from tests.mutants.targets import TARGETS, Target, files_of
from tests.mutants.trial import Trial

ENOUGH = 0.9  # of the mistakes that make a difference are to be noticed
SLACK, SPARE_S = 4.0, 20.0  # a run that takes so much longer than without a mistake is ended
Item = tuple[Target, list[Trial]]


def chosen(names: list[str], seed: int, count: int) -> list[Trial]:
    """A sample, the same for one seed and one tree; every area has its share."""
    by_area: dict[str, list[Trial]] = defaultdict(list)
    for target in TARGETS:
        for path in files_of(target):
            if names and not {target.area, path} & set(names):
                continue
            source = (ROOT / path).read_bytes()
            trials = [Trial(target, path, source, mutant) for mutant in mutants(source)]
            looked_at = path in {known[0] for known in KNOWN}
            by_area[target.area] += [t for t in trials if not (looked_at and t.key() in KNOWN)]
    dice = random.Random(seed)
    for trials in by_area.values():
        dice.shuffle(trials)
    found: list[Trial] = []
    while len(found) < count and any(by_area.values()):
        for trials in by_area.values():
            if trials and len(found) < count:
                found.append(trials.pop())
    return found


def work(items: list[Item], todo: Any, done: Any) -> None:
    """One worker: take targets, prove that their tests pass, then try each mistake.

    What is sent is small: a pipe that is full would have both sides wait for each other.
    """
    with tempfile.TemporaryDirectory(prefix="csnode-mutants-") as folder:
        copy = Copy(Path(folder))
        while (got := todo.get()) is not None:
            item = int(got)
            target, trials = items[item]
            sound = copy.tried(target.tests, 3600.0)
            if sound.what != PASSED:
                done.put((item, None, sound))
                continue
            most_s = SLACK * sound.seconds + SPARE_S
            for n, trial in enumerate(trials):
                with copy.with_text(trial.path, trial.mutant.of(trial.source)):
                    outcome = copy.tried(target.tests, most_s)
                    done.put((item, n, outcome._replace(said="")))
        done.put(None)


def tried(sample: list[Trial], jobs: int) -> list[tuple[Trial, Outcome]]:
    """What became of each, in no order. Raises RuntimeError if tests fail without a mistake."""
    by_target: dict[Target, list[Trial]] = defaultdict(list)
    for trial in sample:
        by_target[trial.target].append(trial)
    items = sorted(by_target.items(), key=lambda pair: -len(pair[1]))
    context = multiprocessing.get_context("fork")
    todo, done = context.SimpleQueue(), context.SimpleQueue()
    workers = [context.Process(target=work, args=(items, todo, done)) for _ in range(jobs)]
    for worker in workers:
        worker.start()
    for item in [*range(len(items)), *[None] * jobs]:
        todo.put(item)
    found: list[tuple[Trial, Outcome]] = []
    ended = 0
    while ended < jobs:
        if (told := done.get()) is None:
            ended += 1
            continue
        item, n, outcome = cast("tuple[int, int | None, Outcome]", told)
        if n is None:
            raise RuntimeError(f"these tests fail without any mistake:\n{outcome.said}")
        found.append((items[item][1][n], outcome))
        print(f"{outcome.what:8} {outcome.seconds:6.1f} s  {found[-1][0]}", flush=True)
    for worker in workers:
        worker.join()
    return found


def report(found: list[tuple[Trial, Outcome]]) -> float:
    """Print a table and the survivors; the part that was noticed."""
    whats = {area: Counter[str]() for area in sorted({t.target.area for t, _ in found})}
    for trial, outcome in found:
        whats[trial.target.area][outcome.what] += 1
    print(f"\n{'AREA':10} {'TRIED':>6} {'NOTICED':>8} {'SURVIVED':>9}")
    for area, counts in whats.items():
        print(
            f"{area:10} {counts.total():6} {counts.total() - counts[PASSED]:8} {counts[PASSED]:9}"
        )
    survivors = [trial for trial, outcome in found if outcome.what == PASSED]
    for trial in sorted(survivors, key=str):
        print(f"\n{trial}\n{trial.diff()}")
    noticed = 1 - len(survivors) / len(found) if found else 1.0
    print(f"{len(found) - len(survivors)} of {len(found)} noticed: {noticed:.0%}")
    return noticed


def main() -> int:
    """Exit code 1 if too few were noticed."""
    parser = argparse.ArgumentParser(prog="python -m tests.mutants", description=__doc__)
    areas = sorted({target.area for target in TARGETS})
    parser.add_argument("names", nargs="*", help=f"areas of {', '.join(areas)}; or paths")
    parser.add_argument("--seed", type=int, default=1, help="which sample (default 1)")
    parser.add_argument("--count", type=int, default=200, help="how many mistakes (default 200)")
    parser.add_argument("--jobs", type=int, default=2, help="how many at a time (default 2)")
    asked = parser.parse_args()
    known = {*areas, *(path for target in TARGETS for path in files_of(target))}
    if unknown := set(asked.names) - known:
        parser.error(f"no area and no file of one is called {', '.join(sorted(unknown))}")
    preload()
    return int(report(tried(chosen(asked.names, asked.seed, asked.count), asked.jobs)) < ENOUGH)


if __name__ == "__main__":
    sys.exit(main())
