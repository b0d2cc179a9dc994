"""What a monitor writes and orders about the hosts that it judges, and what it leaves alone."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from itertools import pairwise
from typing import Any

import pytest

from csnode.bus.local import LocalBus
from csnode.clock import now, wall
from csnode.data.store import Store
from csnode.data.view import View
from csnode.directory.alone import AloneDirectory
from csnode.directory.directory import Health, Member, Serving
from csnode.model.alert import Alert
from csnode.model.host import Host, Seen
from csnode.model.job import Job, JobState
from csnode.model.place import Cluster, Pod, Zone
from csnode.testing.loop import simulate
from csnode.types import ClusterId, NodeId, PodId, ZoneId
from roles.data.config import DataConfig
from roles.monitor import witnesses
from roles.monitor.watch import PAUSE_S, Watch
from tests.contract.data_writer import playing

PLACE: dict[str, Any] = {"zone": ZoneId("z"), "pod": PodId("p"), "cluster": ClusterId("c")}
SILENCE_S = 5.0
DEAD, ALIVE, SPLIT = ((), ("the monitor", "b")), (("b",), ()), (("b",), ("the monitor",))


class Directory:
    """Those who are heard now."""

    def __init__(self) -> None:
        self.here: dict[str, Member] = {}

    def members(self) -> Sequence[Member]:
        return list(self.here.values())

    def hear(self, machine: str, health: Health = Health.OK, *, host: str = "") -> None:
        """Somebody on the machine speaks; for its host if it is one."""
        serves = (Serving(contract="Compute", at=(host,)),) if host else ()
        self.here[machine] = Member(
            node=NodeId(f"{machine}/x"), cluster="c", incarnation=1, number=1, host=machine,
            roles=(), serves=serves, calls="", events="", health=health,
        )  # fmt: skip


class Told:
    """Witnesses that say what the test has them say: who reached the host, and who missed it."""

    def __init__(self) -> None:
        self.say: dict[str, tuple[tuple[str, ...], tuple[str, ...]]] = {}
        self.asked: list[str] = []

    def said(self, host: str) -> witnesses.Testimony | None:
        found = self.say.get(host)
        return (
            witnesses.Testimony(at=now(), reached_by=found[0], missed_by=found[1])
            if found
            else None
        )

    def ask(self, host: str, address: str, members: Sequence[Member]) -> asyncio.Task[None]:
        del address, members
        self.asked.append(host)
        return asyncio.create_task(asyncio.sleep(0))


class Scene:
    """Two hosts that are up, a controlling machine, and a monitor that looks once a second."""

    def __init__(self, store: Store, view: View) -> None:
        self.store, self.view, self.directory, self.told = store, view, Directory(), Told()
        directory: Any = self.directory
        witnesses: Any = self.told
        self.watch = Watch(store, view, directory, witnesses, SILENCE_S)
        self.up: list[str] = []

    async def look(self, seconds: int = 1) -> None:
        for _ in range(seconds):
            await self.watch.judge(self._came)
            await self.view.fresh()
            await asyncio.sleep(1)

    async def _came(self, host: Host) -> None:
        self.up.append(host.id)

    def hear_all(self) -> None:
        self.directory.hear("ctl")
        for name in ("a", "b"):
            self.directory.hear(name, host=f"host-{name}")

    def lose(self, machine: str, say: tuple[tuple[str, ...], tuple[str, ...]] = DEAD) -> None:
        """The machine falls silent; and that is what witnesses say of its host."""
        del self.directory.here[machine]
        self.told.say[f"host-{machine}"] = say

    async def host(self, id: str = "host-a") -> Host:
        return await self.store.get(Host, id)

    async def write(self, by: str = "orchestrator", id: str = "host-a", **columns: Any) -> None:
        change = self.store.acting_as(by).change()
        change.update(Host, id, **columns)
        await change.commit()
        await self.view.fresh()

    async def orders(self) -> list[str]:
        return [job.verb for job in await self.store.find(Job)]

    async def end_jobs(self, state: JobState = JobState.FAILED) -> None:
        change = self.store.acting_as("orchestrator").change()
        for job in await self.store.find(Job):
            if job.open:
                change.update(Job, job.id, state=state)
        await change.commit()


def told(story: Callable[[Scene], Awaitable[None]]) -> None:
    """The story, in virtual time, of hosts that have been heard once."""

    async def whole() -> None:
        bus = LocalBus(AloneDirectory())
        async with playing(bus, DataConfig(path=":memory:", inline=True)):
            store = Store(bus, "monitor")
            change = store.acting_as("fabric").change()
            change.create(Zone(id="z", name="z"))
            change.create(Pod(id="p", name="p", zone=ZoneId("z")))
            change.create(Cluster(id="c", name="c", zone=ZoneId("z"), pod=PodId("p")))
            for name in ("a", "b"):
                at = f"192.0.2.{ord(name)}"
                change.create(Host(id=f"host-{name}", name=name, address=at, ha=True, **PLACE))
            await change.commit()
            view = View(store, (Host,))
            await view.open()
            try:
                scene = Scene(store, view)
                scene.hear_all()
                await scene.look(2)
                assert (await scene.host()).seen is Seen.UP
                await story(scene)
            finally:
                view.close()

    simulate(whole())


def test_a_host_that_is_heard_is_up_and_is_measured_first() -> None:
    async def story(scene: Scene) -> None:
        assert scene.up == ["host-a", "host-b"]
        host = await scene.host()
        assert (host.seen, host.why) == (Seen.UP, "")
        assert abs(host.seen_since - wall()) < 10
        await scene.look(3)
        assert scene.up == ["host-a", "host-b"]
        assert (await scene.host()).revision == host.revision
        assert await scene.orders() == []

    told(story)


def test_a_host_that_seems_dead_is_fenced_once_and_told_of() -> None:
    async def story(scene: Scene) -> None:
        scene.lose("a")
        await scene.look(4)
        assert (await scene.host()).seen is Seen.UP  # it may only be slow
        await scene.look(4)
        host = await scene.host()
        assert (host.seen, await scene.orders()) == (Seen.DOWN, ["fence_host"])
        assert "answers none of the monitor, b" in host.why
        (alert,) = await scene.store.find(Alert)
        assert "Host a" in alert.text
        await scene.look(60)
        assert await scene.orders() == ["fence_host"]  # a job is at it

    told(story)


def test_a_host_with_ha_disabled_is_down_and_not_fenced() -> None:
    async def story(scene: Scene) -> None:
        await scene.write("api", ha=False)
        scene.lose("a")
        await scene.look(120)
        assert ((await scene.host()).seen, await scene.orders()) == (Seen.DOWN, [])
        await scene.write("api", ha=True)
        await scene.look(2)
        assert await scene.orders() == ["fence_host"]

    told(story)


@pytest.mark.parametrize("say", [ALIVE, SPLIT, ((), ("b",)), ((), ())])
def test_a_host_that_may_be_alive_is_not_fenced(
    say: tuple[tuple[str, ...], tuple[str, ...]],
) -> None:
    async def story(scene: Scene) -> None:
        scene.lose("a", say)
        await scene.look(120)
        assert ((await scene.host()).seen, await scene.orders()) == (Seen.ALERT, [])

    told(story)


def test_a_host_is_not_judged_before_its_witnesses_were_heard() -> None:
    async def story(scene: Scene) -> None:
        del scene.directory.here["a"]
        await scene.look(30)
        assert (await scene.host()).seen is Seen.UP
        assert set(scene.told.asked) == {"host-a"}

    told(story)


def test_a_fence_that_failed_is_tried_again_after_growing_pauses() -> None:
    async def story(scene: Scene) -> None:
        scene.lose("a")
        times: list[float] = []
        for _ in range(100):
            before = len(await scene.orders())
            await scene.look()
            if len(await scene.orders()) > before:
                times.append(now())
                await scene.end_jobs()
        pauses = [round(b - a) for a, b in pairwise(times)]
        assert pauses[:3] == sorted(pauses[:3])
        assert PAUSE_S <= pauses[0] <= PAUSE_S + 2
        assert 2 * PAUSE_S <= pauses[1] <= 2 * PAUSE_S + 2
        assert pauses[2] >= 4 * PAUSE_S

    told(story)


def test_a_host_whose_fence_is_stuck_is_left_to_an_operator() -> None:
    async def story(scene: Scene) -> None:
        scene.lose("a")
        await scene.look(8)
        await scene.end_jobs(JobState.STUCK)
        await scene.look(120)
        assert await scene.orders() == ["fence_host"]

    told(story)


def test_a_host_that_comes_back_is_up_and_its_next_death_is_fenced_at_once() -> None:
    async def story(scene: Scene) -> None:
        for times in (1, 2):
            scene.lose("a")
            await scene.look(8)
            assert await scene.orders() == ["fence_host"] * times
            await scene.end_jobs()
            scene.hear_all()
            await scene.look()
            assert (await scene.host()).seen is Seen.UP
        assert scene.up == ["host-a", "host-b", "host-a", "host-a"]

    told(story)


def test_a_fenced_host_that_is_heard_is_taken_back_before_it_is_up() -> None:
    async def story(scene: Scene) -> None:
        scene.lose("a")
        await scene.look(8)
        await scene.end_jobs(JobState.DONE)
        await scene.write(fenced=wall(), fence_proof="its BMC says off")
        await scene.look(60)
        assert ((await scene.host()).seen, await scene.orders()) == (Seen.DOWN, ["fence_host"])
        scene.hear_all()
        await scene.look(2)
        assert (await scene.host()).seen is Seen.CONNECTING
        assert sorted(await scene.orders()) == ["fence_host", "return_host"]
        assert scene.up == ["host-a", "host-b"]
        await scene.end_jobs(JobState.DONE)
        await scene.write(fenced=0.0, fence_proof="")
        await scene.look()
        assert (await scene.host()).seen is Seen.UP

    told(story)


def test_a_monitor_that_hears_few_machines_has_nobody_fenced() -> None:
    """It is cut off itself, most likely: all others fall silent at once."""

    async def story(scene: Scene) -> None:
        scene.lose("a")
        scene.lose("b")
        await scene.look(120)
        assert ((await scene.host()).seen, await scene.orders()) == (Seen.ALERT, [])

    told(story)


@pytest.mark.parametrize(("later", "seen"), [(1, Seen.ALERT), (590, Seen.ALERT), (605, Seen.DOWN)])
def test_machines_that_left_count_for_ten_minutes(later: int, seen: Seen) -> None:
    """Until then two heard of five are no majority; then they are two of three."""

    async def story(scene: Scene) -> None:
        for name in ("x", "y"):
            scene.directory.hear(name)
        await scene.look()
        for name in ("x", "y"):
            del scene.directory.here[name]
        await asyncio.sleep(later)
        await scene.look()
        scene.lose("a")
        await scene.look(8)
        assert (await scene.host()).seen is seen

    told(story)


def test_a_host_that_speaks_and_is_suspect_is_waited_for() -> None:
    async def story(scene: Scene) -> None:
        scene.directory.hear("a", Health.SUSPECT, host="host-a")
        scene.told.say["host-a"] = DEAD
        await scene.look(60)
        assert ((await scene.host()).seen, await scene.orders()) == (Seen.UP, [])
        scene.directory.hear("a", Health.DRAINING, host="host-a")
        await scene.look()
        assert (await scene.host()).seen is Seen.UP

    told(story)


def test_the_same_verdict_for_another_reason_is_written_and_told_once() -> None:
    async def story(scene: Scene) -> None:
        scene.lose("a", ALIVE)
        await scene.look(10)
        before = await scene.host()
        scene.told.say["host-a"] = SPLIT
        await scene.look(10)
        after = await scene.host()
        assert (before.seen, after.seen, after.seen_since) == (
            Seen.ALERT, Seen.ALERT, before.seen_since)  # fmt: skip
        assert "its machines run on" in before.why
        assert "a partition" in after.why
        assert len(await scene.store.find(Alert)) == 1

    told(story)


def test_a_host_that_left_the_cloud_is_judged_no_more() -> None:
    async def story(scene: Scene) -> None:
        scene.lose("a")
        change = scene.store.acting_as("api").change()
        change.delete(Host, "host-a")
        await change.commit()
        await scene.look(10)
        assert await scene.orders() == []

    told(story)


def test_a_host_that_left_while_it_was_silent_and_is_enrolled_anew_is_waited_for_anew() -> None:
    async def story(scene: Scene) -> None:
        scene.lose("a")
        await scene.look(3)
        row = await scene.host()
        change = scene.store.acting_as("fabric").change()
        change.delete(Host, "host-a")
        await change.commit()
        change = scene.store.change()
        change.update(Host, "host-a", why="it is silent")
        assert not await scene.watch._committed(row, change)
        change = scene.store.acting_as("fabric").change()
        change.create(Host(id="host-a", name="a", ha=True, **PLACE))
        await change.commit()
        await scene.view.fresh()
        await scene.look(4)
        assert await scene.orders() == []

    told(story)


@pytest.mark.parametrize(("silent", "next_s"), [(1.0, 1.0), (4.25, 0.75), (4.99, 0.05)])
def test_a_host_that_falls_silent_is_looked_at_again_when_its_time_is_over(
    silent: float, next_s: float
) -> None:
    async def story(scene: Scene) -> None:
        await scene.watch.judge(scene._came)
        scene.lose("a")
        await asyncio.sleep(silent)
        await scene.watch.judge(scene._came)
        assert scene.watch.next_s == pytest.approx(next_s)

    told(story)
