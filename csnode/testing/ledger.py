"""What clients of a world ordered and what came of it, counted by command and by saga."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterable

import msgspec

from csnode.model.job import Job

RECORD = "record"  # the verb of a job that was done with the commit that ordered it
REASON_MAX = 72
_ID = re.compile(r"[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}")
_NAME = re.compile(r"\b[A-Za-z]+[-_.]?#|\b[a-z]+-?\d[\w.-]*|\b\d[\w.:/-]*")
_BRACKETS = re.compile(r"\([^()]*\)")


class Count(msgspec.Struct):
    """How often a command was ordered, and how that was answered."""

    sent: int = 0
    accepted: int = 0
    unanswered: int = 0
    refused: Counter[str] = msgspec.field(default_factory=Counter[str])  # by reason

    def add(self, other: Count) -> None:
        """Add what another world counted."""
        self.sent += other.sent
        self.accepted += other.accepted
        self.unanswered += other.unanswered
        self.refused.update(other.refused)


class Ledger(msgspec.Struct):
    """The counts of one world, or the sums of many."""

    commands: dict[str, Count] = {}
    sagas: dict[str, Counter[str]] = {}  # by verb: how many jobs are in which state

    def note(self, command: str, status: int, text: str) -> None:
        """Count one order that ended; status 0 means that no answer came."""
        count = self.commands.setdefault(command, Count())
        count.sent += 1
        if status == 200:
            count.accepted += 1
        elif status:
            count.refused[reason(text)] += 1
        else:
            count.unanswered += 1

    def note_jobs(self, jobs: Iterable[Job]) -> None:
        """Count the jobs of a world by saga and state."""
        for job in jobs:
            if job.verb != RECORD:
                self.sagas.setdefault(job.verb, Counter())[job.state.value] += 1

    def add(self, other: Ledger) -> None:
        """Add the counts of another world."""
        for name, count in other.commands.items():
            self.commands.setdefault(name, Count()).add(count)
        for verb, states in other.sagas.items():
            self.sagas.setdefault(verb, Counter()).update(states)

    def accepted(self, command: str) -> int:
        """Count how often the command was accepted."""
        count = self.commands.get(command)
        return count.accepted if count else 0

    def never_accepted(self, commands: Iterable[str]) -> list[str]:
        """Return, of these commands, those that no world accepted."""
        return sorted(command for command in commands if not self.accepted(command))

    def never_done(self, verbs: Iterable[str]) -> list[str]:
        """Return, of these sagas, those of which no job ended well."""
        return sorted(v for v in verbs if not self.sagas.get(v, Counter())["done"])


def reason(text: str) -> str:
    """Return the words of a refusal without ids, names and numbers.

    Equal reasons are counted together that way.
    """
    plain = _BRACKETS.sub("", _ID.sub("#", text))
    return " ".join(_NAME.sub("#", plain).split())[:REASON_MAX]


def table_of_commands(ledger: Ledger, asked: Iterable[str] = ()) -> list[tuple[str, ...]]:
    """Return a row for each command: counts, and the most frequent reason of a refusal."""
    rows: list[tuple[str, ...]] = []
    for name in sorted({*ledger.commands, *asked}):
        count = ledger.commands.get(name, Count())
        why = [f"{times} x {text}" for text, times in count.refused.most_common(1)]
        refused = sum(count.refused.values())
        rows.append((name, str(count.sent), str(count.accepted), str(refused),
                     str(count.unanswered), *(why or ("",))))  # fmt: skip
    return rows


def table_of_sagas(ledger: Ledger) -> list[tuple[str, ...]]:
    """Return a row for each saga: how many of its jobs are done, failed, stuck."""
    return [
        (verb, *(str(states[state]) for state in ("done", "failed", "stuck")))
        for verb, states in sorted(ledger.sagas.items())
    ]
