"""How far a view has followed the feed of each of its kinds, and who waits until it is further."""

from __future__ import annotations

import asyncio

Numbers = tuple[int, ...]
"""One for each kind, in the order of `names`."""


class Position:
    """Of each kind: the number up to which the view has all entries, and the last known of."""

    def __init__(self, names: tuple[str, ...]) -> None:
        self.names = names
        self.kept = names  # what the data service asked last has of them
        self.done = dict.fromkeys(names, 0)  # all up to there is here
        self.heads = dict.fromkeys(names, 0)  # as far as we know
        self.life = 0  # how often the rows were read as a whole
        self._waiting: list[tuple[Numbers, asyncio.Future[None]]] = []

    @property
    def number(self) -> int:
        """Every entry of our kinds up to there is in the view; there may be later ones."""
        return min((self.done[name] for name in self.kept), default=0)

    def lacks(self, heads: Numbers) -> bool:
        """Whether there is an entry up to these that the view has not."""
        done = self.done
        return any(done[name] < head for name, head in zip(self.names, heads, strict=True))

    def sank(self, known: dict[str, int], heads: Numbers) -> bool:
        """Whether a head is lower than it was before we asked. That is another database."""
        return any(head < known[name] for name, head in zip(self.names, heads, strict=True))

    def differs(self, numbers: dict[str, int]) -> bool:
        """Whether heads that were heard of are beyond what is here, or below what is known."""
        heads = [(name, numbers.get(name, 0)) for name in self.names]
        return any(head > self.done[name] or head < self.heads[name] for name, head in heads)

    def restart(self, heads: Numbers, kept: tuple[str, ...]) -> None:
        """All rows of the kinds `kept` were read, when the feed was as far as `heads`."""
        self.life += 1
        self.heads = dict(zip(self.names, heads, strict=True))
        upto = max(heads, default=0)
        self.done = {name: upto if name in kept else 0 for name in self.names}

    def note(self, heads: Numbers) -> None:
        """Where we have a kind's last entry, we have it up to the highest head."""
        upto = max(heads, default=0)
        for name, head in zip(self.names, heads, strict=True):
            self.heads[name] = max(self.heads[name], head)
            if head <= self.done[name] < upto and name in self.kept:
                self.done[name] = upto

    def advance(self, name: str, number: int) -> None:
        """All entries of the kind up to that number, which is one of its entries, are here."""
        self.done[name] = max(self.done[name], number)
        self.heads[name] = max(self.heads[name], self.done[name])

    # -- waiting ---------------------------------------------------------------------------

    async def reached(self, heads: Numbers) -> None:
        """Wait until the view has all up to these."""
        waiting: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._waiting.append((heads, waiting))
        try:
            await waiting
        finally:
            self._waiting = [w for w in self._waiting if w[1] is not waiting]

    def tell(self) -> None:
        """Let those go on who wait for what is here by now."""
        for wanted, waiting in self._waiting:
            if not waiting.done() and not self.lacks(wanted):
                waiting.set_result(None)
