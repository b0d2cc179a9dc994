"""How far a view has followed the feed of each of its kinds, and what waits for more of it."""

from __future__ import annotations

import asyncio

Numbers = tuple[int, ...]
"""One for each kind, in the order of `names`."""


class Position:
    """Keeps two numbers of each kind: the view has all entries up to one, and knows of the other.

    A view makes one, and its reader and its follower move it.
    """

    def __init__(self, names: tuple[str, ...]) -> None:
        self.names = names
        self.kept = names  # what the data service asked last has of them
        self.done = dict.fromkeys(names, 0)  # all up to there is here
        self.heads = dict.fromkeys(names, 0)  # as far as we know
        self.life = 0  # how often the rows were read as a whole
        self._waiting: list[tuple[Numbers, asyncio.Future[None]]] = []

    @property
    def number(self) -> int:
        """Return the number up to which the view has every entry; there may be later ones."""
        return min((self.done[name] for name in self.kept), default=0)

    def lacks(self, heads: Numbers) -> bool:
        """Tell whether there is an entry up to these that the view has not."""
        done = self.done
        return any(done[name] < head for name, head in zip(self.names, heads, strict=True))

    def sank(self, known: dict[str, int], heads: Numbers) -> bool:
        """Tell whether a head is lower than before it was asked for: that is another database."""
        return any(head < known[name] for name, head in zip(self.names, heads, strict=True))

    def differs(self, numbers: dict[str, int]) -> bool:
        """Tell whether heads that were heard of are beyond what is here, or below what is known."""
        heads = [(name, numbers.get(name, 0)) for name in self.names]
        return any(head > self.done[name] or head < self.heads[name] for name, head in heads)

    def restart(self, heads: Numbers, kept: tuple[str, ...]) -> None:
        """Note that all rows of the kinds `kept` were read, with the feed at `heads` or later."""
        self.life += 1
        self.heads = dict(zip(self.names, heads, strict=True))
        upto = max(heads, default=0)
        self.done = {name: upto if name in kept else 0 for name in self.names}

    def note(self, heads: Numbers) -> None:
        """Take in heads: a kind whose last entry is here is known up to the highest of them."""
        upto = max(heads, default=0)
        for name, head in zip(self.names, heads, strict=True):
            self.heads[name] = max(self.heads[name], head)
            if head <= self.done[name] < upto and name in self.kept:
                self.done[name] = upto

    def advance(self, name: str, number: int) -> None:
        """Note that all entries of the kind up to that number are here."""
        self.done[name] = max(self.done[name], number)
        self.heads[name] = max(self.heads[name], self.done[name])

    # -- waiting ---------------------------------------------------------------------------

    async def reached(self, heads: Numbers) -> None:
        """Wait until the view has every entry up to these."""
        waiting: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._waiting.append((heads, waiting))
        try:
            await waiting
        finally:
            self._waiting = [w for w in self._waiting if w[1] is not waiting]

    def tell(self) -> None:
        """Wake every `reached` whose heads are here by now."""
        for wanted, waiting in self._waiting:
            if not waiting.done() and not self.lacks(wanted):
                waiting.set_result(None)
