"""What leases must do, whoever keeps them. Subclass it and say where; see tests/contract.

Run as a program it holds a lease until it is killed, and says all the time whether it is its own:
`python -m csnode.testing.lease CSNODE.TOML NAME HOLDER SECONDS`.
"""

from __future__ import annotations

import asyncio
import subprocess
import sys
import time
from collections.abc import AsyncGenerator, Callable
from contextlib import AsyncExitStack, ExitStack, asynccontextmanager, suppress
from pathlib import Path
from typing import Any, Protocol, Self

import msgspec
import pytest

from csnode.clock import now
from csnode.config import Config
from csnode.context import acting
from csnode.contracts.data import Commit, Data
from csnode.faults import Conflict, Fault, Unavailable
from csnode.lease.chosen import leasing
from csnode.lease.lease import Held, Leases
from csnode.log import start as start_log
from csnode.node import Node
from csnode.testing.patience import patient
from csnode.types import Struct
from csnode.uuids import new_id

PATIENCE_S = 60.0
SECONDS = 3.0


class Keeper(Protocol):
    """The server that keeps the leases."""

    def restart(self) -> None:
        """Kill it with kill -9, start it again with its data; return when it serves."""
        ...

    def freeze(self) -> None:
        """Send SIGSTOP."""
        ...

    def thaw(self) -> None:
        """Send SIGCONT."""
        ...


class Site(Struct):
    """A server, and a configuration that uses it: the file's path by the seconds of its leases."""

    keeper: Any
    config: Callable[[float], Path]


@asynccontextmanager
async def connected(file: Path) -> AsyncGenerator[tuple[Leases, Data]]:
    """Yield leases as a process so configured has them, and its way to the data service."""
    config = Config.read(file, {}, {})
    async with AsyncExitStack() as opened:
        bus = await Node(config).enter_bus(opened)
        data = bus.ask(Data)
        yield await opened.enter_async_context(leasing(config, data)), data


@asynccontextmanager
async def two_of(site: Site, seconds: float = SECONDS) -> AsyncGenerator[tuple[Leases, Leases]]:
    """Yield two that are not one process to the server."""
    file = site.config(seconds)
    async with connected(file) as (one, _), connected(file) as (two, _):
        yield one, two


async def got(leases: Leases, name: str, holder: str, opened: AsyncExitStack) -> Held:
    """Take the lease as soon as it is to be had; it is held until the stack closes."""
    async with asyncio.timeout(PATIENCE_S):
        while True:
            try:
                hold = leases.hold(name, holder, SECONDS)
                return await opened.enter_async_context(hold)
            except (Conflict, Unavailable):
                await asyncio.sleep(0.02)


async def free(leases: Leases, name: str) -> bool:
    """Tell whether somebody could have it now."""
    with suppress(Conflict):
        async with leases.hold(name, "probe", SECONDS):
            return True
    return False


class Said(Struct):
    """What a holder believes, and when (on the machine's monotonic clock)."""

    at: float
    fence: int
    ours: bool


class Holder:
    """A process that holds a lease."""

    def __init__(self, file: Path, name: str, seconds: float = SECONDS) -> None:
        command = [sys.executable, "-m", "csnode.testing.lease", str(file), name]
        self.process = subprocess.Popen(
            [*command, f"holder-{name}", str(seconds)], stdout=subprocess.PIPE
        )

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.process.kill()
        self.process.communicate()

    def next(self) -> Said:
        """Return what it says next; waits for that."""
        assert self.process.stdout is not None
        line = self.process.stdout.readline()
        assert line, "the holder ended"
        return msgspec.json.decode(line, type=Said)

    async def until(self, fact: Callable[[Said], bool]) -> list[Said]:
        """Return all that it says until it says that."""
        found: list[Said] = []
        async with asyncio.timeout(patient(PATIENCE_S)):
            while not found or not fact(found[-1]):
                found.append(await asyncio.to_thread(self.next))
        return found


class LeaseSuite:
    """Every test has a name of its own for its lease; they share the server."""

    @pytest.fixture
    def site(self) -> Site:
        """Yield a server; the tests may share it."""
        raise NotImplementedError

    @pytest.fixture
    def name(self) -> str:
        return f"a lease/{new_id()[:8]}#1"

    async def test_of_many_who_want_it_one_has_it(self, site: Site, name: str) -> None:
        async with AsyncExitStack() as opened:
            many = [await opened.enter_async_context(connected(site.config(SECONDS)))
                    for _ in range(3)]  # fmt: skip
            held: list[Held] = []

            async def want(leases: Leases, who: str) -> None:
                with suppress(Conflict):
                    hold = leases.hold(name, who, SECONDS)
                    held.append(await opened.enter_async_context(hold))

            await asyncio.gather(*(want(leases, f"h{n}-{m}") for n, (leases, _) in enumerate(many)
                                   for m in range(2)))  # fmt: skip
            assert len(held) == 1
            assert held[0].ours
            assert not await free(many[0][0], name)
            assert not await free(many[1][0], name)

    async def test_whoever_is_refused_is_told_who_has_it(self, site: Site, name: str) -> None:
        async with two_of(site) as (one, two), one.hold(name, "x1", SECONDS):
            with pytest.raises(Conflict, match="x1"):
                await two.hold(name, "x2", SECONDS).__aenter__()

    async def test_given_back_it_is_the_next_one_s_at_once(self, site: Site, name: str) -> None:
        async with two_of(site) as (one, two):
            for _ in range(3):
                async with one.hold(name, "one", SECONDS):
                    pass
                async with two.hold(name, "two", SECONDS):
                    pass

    async def test_every_holder_has_a_higher_fence(self, site: Site, name: str) -> None:
        async with two_of(site) as (one, two):
            fences: list[int] = []
            for leases in (one, two, two, one):
                async with leases.hold(name, "somebody", SECONDS) as held:
                    fences.append(held.fence)
            assert fences == sorted(set(fences))
            assert fences[0] > 0

    async def test_it_is_renewed_as_long_as_it_is_held(self, site: Site, name: str) -> None:
        async with two_of(site) as (one, two):
            async with one.hold(name, "one", SECONDS) as held, asyncio.timeout(PATIENCE_S):
                first = held.until
                while held.until < first + SECONDS:
                    assert held.ours
                    assert not await free(two, name)
                    await asyncio.sleep(0.1)
            assert await free(two, name)

    async def test_the_lease_of_a_killed_holder_is_free_after_its_time(
        self, site: Site, name: str
    ) -> None:
        with Holder(site.config(SECONDS), name) as holder:
            before = (await holder.until(lambda said: said.ours))[-1]
            async with connected(site.config(SECONDS)) as (leases, _), AsyncExitStack() as opened:
                assert not await free(leases, name)
                holder.process.kill()
                held = await got(leases, name, "next", opened)
                assert held.fence > before.fence

    async def test_a_frozen_holder_has_lost_it_and_knows_when_it_wakes(
        self, site: Site, name: str
    ) -> None:
        with Holder(site.config(SECONDS), name) as holder, ExitStack() as thawing:
            await holder.until(lambda said: said.ours)
            async with connected(site.config(SECONDS)) as (leases, _), AsyncExitStack() as opened:
                holder.process.send_signal(19)
                thawing.callback(holder.process.send_signal, 18)
                held = await got(leases, name, "next", opened)
                taken = time.monotonic()
                thawing.close()
                said = await holder.until(lambda said: said.at > taken)
                assert not said[-1].ours
                assert not any(s.ours for s in said if s.at > taken)
                assert held.fence > said[0].fence
                assert held.ours

    async def test_a_short_outage_of_the_server_loses_nothing(self, site: Site, name: str) -> None:
        async with two_of(site) as (one, _), one.hold(name, "one", SECONDS) as held:
            before = held.until
            site.keeper.freeze()
            try:
                await asyncio.sleep(SECONDS / 3)  # as long as the outage is meant to be
            finally:
                site.keeper.thaw()
            async with asyncio.timeout(PATIENCE_S):
                while held.until < before + SECONDS:
                    assert held.ours
                    await asyncio.sleep(0.05)

    async def test_a_server_killed_and_started_again_knows_who_held_it(
        self, site: Site, name: str
    ) -> None:
        seconds = 40.0  # as long as a session may last: a busy machine takes its time to restart
        async with two_of(site, seconds) as (one, two), one.hold(name, "one", seconds) as held:
            before = held.until
            await asyncio.to_thread(site.keeper.restart)
            async with asyncio.timeout(PATIENCE_S):
                while held.until == before:
                    assert held.ours
                    await asyncio.sleep(0.05)
            assert held.ours
            assert not await free(two, name)

    async def test_a_long_outage_of_the_server_loses_it_and_the_holder_knows(
        self, site: Site, name: str
    ) -> None:
        async with connected(site.config(SECONDS)) as (one, _), AsyncExitStack() as opened:
            async with one.hold(name, "one", SECONDS) as held:
                believed = held.until
                site.keeper.freeze()
                try:
                    async with asyncio.timeout(PATIENCE_S):
                        await held.lost.wait()
                    assert now() >= believed
                    assert not held.ours
                finally:
                    site.keeper.thaw()
            async with connected(site.config(SECONDS)) as (two, _):
                again = await got(two, name, "two", opened)
                assert again.fence > held.fence
                assert not held.ours
                await opened.aclose()

    async def test_who_asked_in_vain_leaves_nothing_behind(self, site: Site, name: str) -> None:
        """An answer that was lost, or not waited for, must not keep others out for ever."""
        async with connected(site.config(SECONDS)) as (one, _):
            assert await free(one, name)
            site.keeper.freeze()
            try:
                with pytest.raises((Unavailable, TimeoutError)):
                    async with asyncio.timeout(1):
                        await one.hold(name, "vain", SECONDS).__aenter__()
            finally:
                site.keeper.thaw()
            async with connected(site.config(SECONDS)) as (two, _), AsyncExitStack() as opened:
                assert (await got(two, name, "two", opened)).ours
                await opened.aclose()

    async def test_nobody_takes_over_from_who_holds_it(self, site: Site, name: str) -> None:
        file = site.config(SECONDS)
        async with connected(file) as (one, _), connected(file) as (two, data):
            hold = one.hold(name, "one", SECONDS)
            async with hold as held:
                with pytest.raises(Conflict):
                    await relied(two, data, name)
                assert held.ours

    async def test_who_is_gone_is_taken_over_from_and_holds_it_no_more(
        self, site: Site, name: str
    ) -> None:
        with Holder(site.config(SECONDS), name) as holder, ExitStack() as thawing:
            await holder.until(lambda said: said.ours)
            holder.process.send_signal(19)
            thawing.callback(holder.process.send_signal, 18)
            async with connected(site.config(SECONDS)) as (leases, data):
                async with asyncio.timeout(PATIENCE_S):
                    while True:
                        with suppress(Conflict):
                            await asyncio.gather(*(relied(leases, data, name) for _ in range(5)))
                            break
                        await asyncio.sleep(0.05)
                taken = time.monotonic()
                thawing.close()
                said = await holder.until(lambda said: said.at > taken)
                assert not any(s.ours for s in said if s.at > taken)


async def relied(leases: Leases, data: Data, name: str) -> None:
    """Commit what relies on the lease's end."""
    async with leases.ended(name, "successor") as proof:
        if proof:
            await data.commit(Commit(changes=proof))


async def _play(file: Path, name: str, holder: str, seconds: float) -> None:
    async with connected(file) as (leases, _), AsyncExitStack() as opened:
        with acting(caller=holder):
            while True:
                with suppress(Fault):
                    hold = leases.hold(name, holder, seconds)
                    held = await opened.enter_async_context(hold)
                    break
                await asyncio.sleep(0.02)
        while True:
            said = Said(at=time.monotonic(), fence=held.fence, ours=held.ours)
            sys.stdout.write(msgspec.json.encode(said).decode() + "\n")
            sys.stdout.flush()
            await asyncio.sleep(0.02)


if __name__ == "__main__":
    start_log("error", "json")  # to stderr
    asyncio.run(_play(Path(sys.argv[1]), sys.argv[2], sys.argv[3], float(sys.argv[4])))
