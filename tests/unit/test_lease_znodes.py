"""Leases by ZooKeeper whatever its server does: in virtual time, by a tree that answers as told."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Awaitable, Callable
from contextlib import asynccontextmanager
from typing import Any

import pytest

from csnode.clock import now
from csnode.config import ZooKeeperConfig
from csnode.faults import Conflict, NotFound, Refused, Unavailable
from csnode.lease import zookeeper as leases
from csnode.lease.lease import BELIEVED
from csnode.lease.zookeeper import ZooKeeperLeases
from csnode.servers.zookeeper import Line, Stat
from csnode.testing.loop import simulate

SESSION_S = 6.0
AWAY = Unavailable("ZooKeeper does not answer")
PATH = "leases/l"


class Tree:
    """What the server has, as one session sees it."""

    def __init__(self) -> None:
        self.session_s, self.session = SESSION_S, 7
        self.nodes: dict[str, Stat] = {}
        self.number = 100
        self.listeners: list[Callable[[Line], None]] = []
        self.does: Callable[[str], Exception | None] = lambda _: None  # before it is done
        self.forgets: Callable[[str], Exception | None] = lambda _: None  # after it was
        self.left = False

    def listen(self, listener: Callable[[Line], None]) -> None:
        self.listeners.append(listener)

    def put(self, value: bytes, session: int = 8) -> None:
        """Somebody else has the lease, by another session unless it is said."""
        self.number += 1
        self.nodes[PATH] = Stat(
            value=value, created=self.number, changed=self.number, version=0, session=session
        )

    def _may(self, what: str, where: Callable[[str], Exception | None]) -> None:
        if (fault := where(what)) is not None:
            raise fault

    async def create(self, path: str, value: bytes, ephemeral: bool) -> Stat:
        assert ephemeral
        self._may("create", self.does)
        if path in self.nodes:
            raise Conflict("it is there")
        self.number += 1
        made = self.nodes[path] = Stat(
            value=value, created=self.number, changed=self.number, version=0, session=self.session
        )
        self._may("create", self.forgets)
        return made

    async def get(self, path: str) -> Stat | None:
        self._may("get", self.does)
        return self.nodes.get(path)

    async def set(self, path: str, value: bytes, version: int) -> Stat:
        self._may("set", self.does)
        found = self.nodes.get(path)
        if found is None:
            raise NotFound("it is not there")
        if found.version != version:
            raise Conflict("another version")
        self.number += 1
        made = self.nodes[path] = Stat(
            value=value, created=found.created, changed=self.number, version=version + 1,
            session=found.session,
        )  # fmt: skip
        self._may("set", self.forgets)
        return made

    async def delete(self, path: str, version: int) -> None:
        self._may("delete", self.does)
        found = self.nodes.get(path)
        if found is not None and found.version != version:
            raise Conflict("another version")
        self.nodes.pop(path, None)

    async def children(self, path: str) -> list[str]:
        if not self.nodes:
            raise NotFound("no folder")
        return [name.removeprefix(f"{path}/") for name in self.nodes]


Story = Callable[[ZooKeeperLeases, Tree], Awaitable[None]]


@pytest.fixture
def told(monkeypatch: pytest.MonkeyPatch) -> Callable[[Story], None]:
    """told(story): leases whose server is a tree."""

    def play(story: Story) -> None:
        async def whole() -> None:
            tree = Tree()

            @asynccontextmanager
            async def connected(*_: Any) -> AsyncGenerator[Tree]:
                yield tree
                tree.left = True

            monkeypatch.setattr(leases, "connected", connected)
            keeper = ZooKeeperLeases(ZooKeeperConfig(hosts=("x",)), "c")
            async with asyncio.timeout(10_000), keeper as held:
                await story(held, tree)
            assert tree.left

        simulate(whole())

    return play


Told = Callable[[Story], None]


def once(what: str, fault: Exception) -> Callable[[str], Exception | None]:
    """That request fails the first time."""
    failed: list[str] = []

    def does(asked: str) -> Exception | None:
        if asked != what or failed:
            return None
        failed.append(asked)
        return fault

    return does


def test_a_lease_is_a_znode_and_its_fence_the_number_of_what_made_it(told: Told) -> None:
    async def story(held: ZooKeeperLeases, tree: Tree) -> None:
        async with held.hold("l", "me", 60.0) as lease:
            assert lease.fence == tree.nodes[PATH].created
            assert tree.nodes[PATH].value.startswith(b"me ")
            await asyncio.sleep(100)
            assert lease.ours
            assert tree.nodes[PATH].version > 30
        assert tree.nodes == {}

    told(story)


def test_a_lease_is_believed_in_no_longer_than_the_session_lasts(told: Told) -> None:
    async def story(held: ZooKeeperLeases, tree: Tree) -> None:
        for asked, lasts in ((60.0, SESSION_S), (3.0, 3.0)):
            began = now()
            async with held.hold("l", "me", asked) as lease:
                assert lease.until - began == lasts * BELIEVED

    told(story)


def test_whoever_is_refused_is_told_who_has_it_and_leaves_it_alone(told: Told) -> None:
    async def story(held: ZooKeeperLeases, tree: Tree) -> None:
        tree.put(b"eve 1")
        before = tree.nodes[PATH]
        with pytest.raises(Conflict, match="eve holds the lease l"):
            async with held.hold("l", "me", 60.0):
                raise AssertionError("somebody else has it")
        await asyncio.sleep(60)
        assert tree.nodes[PATH] == before

    told(story)


def test_a_lease_that_another_has_now_is_lost_at_the_next_renewal(told: Told) -> None:
    """Though her znode is at the version that ours was at, and so is written to."""

    async def story(held: ZooKeeperLeases, tree: Tree) -> None:
        async with held.hold("l", "me", 60.0) as lease:
            del tree.nodes[PATH]
            tree.put(b"eve 1")
            began = now()
            await lease.lost.wait()
            assert now() - began == SESSION_S / 3
        await asyncio.sleep(60)
        assert tree.nodes[PATH].session == 8, "it is hers"

    told(story)


def test_a_lease_whose_znode_is_gone_is_lost_at_the_next_renewal(told: Told) -> None:
    async def story(held: ZooKeeperLeases, tree: Tree) -> None:
        async with held.hold("l", "me", 60.0) as lease:
            tree.nodes.clear()
            began = now()
            await lease.lost.wait()
            assert now() - began == SESSION_S / 3

    told(story)


def test_a_renewal_that_was_written_and_not_answered_does_not_lose_the_lease(told: Told) -> None:
    async def story(held: ZooKeeperLeases, tree: Tree) -> None:
        async with held.hold("l", "me", 60.0) as lease:
            tree.forgets = once("set", AWAY)
            await asyncio.sleep(30)
            assert lease.ours
            assert not lease.lost.is_set()

    told(story)


def test_an_expired_session_loses_every_lease_and_a_cut_line_none(told: Told) -> None:
    async def story(held: ZooKeeperLeases, tree: Tree) -> None:
        async with held.hold("l", "me", 60.0) as one, held.hold("m", "me", 60.0) as other:
            for listener in tree.listeners:
                listener(Line.DOWN)
            assert (one.ours, other.ours) == (True, True)
            for listener in tree.listeners:
                listener(Line.LOST)
            assert (one.ours, other.ours) == (False, False)

    told(story)


def test_a_session_that_expired_as_the_lease_was_taken_has_lost_it(told: Told) -> None:
    async def story(held: ZooKeeperLeases, tree: Tree) -> None:
        def expires(what: str) -> None:
            tree.session = 9

        tree.forgets = expires
        async with held.hold("l", "me", 60.0) as lease:
            assert not lease.ours

    told(story)


@pytest.mark.parametrize("made", [True, False])
def test_what_may_have_been_made_though_nobody_answered_is_cleared(told: Told, made: bool) -> None:
    """Else the lease would be nobody's for as long as our session lasts."""

    async def story(held: ZooKeeperLeases, tree: Tree) -> None:
        fails = once("create", AWAY)
        if made:
            tree.forgets = fails
        else:
            tree.does = fails
        with pytest.raises(Unavailable):
            async with held.hold("l", "me", 60.0):
                raise AssertionError("nobody answered")
        assert bool(tree.nodes) is made
        await asyncio.sleep(1)
        assert tree.nodes == {}
        async with held.hold("l", "me", 60.0) as lease:
            assert lease.ours

    told(story)


def test_what_is_refused_for_another_reason_is_told_and_leaves_nothing_to_clear(
    told: Told,
) -> None:
    async def story(held: ZooKeeperLeases, tree: Tree) -> None:
        asked: list[str] = []

        def refuses(what: str) -> Exception | None:
            asked.append(what)
            return Refused("no right to write") if what == "create" else None

        tree.does = refuses
        with pytest.raises(Refused):
            async with held.hold("l", "me", 60.0):
                raise AssertionError("it was refused")
        await asyncio.sleep(60)
        assert asked == ["create"]

    told(story)


def test_a_lease_that_could_not_be_given_back_is_given_back_later(told: Told) -> None:
    async def story(held: ZooKeeperLeases, tree: Tree) -> None:
        away = True
        tree.does = lambda what: AWAY if away and what != "create" else None
        async with held.hold("l", "me", 60.0):
            pass
        await asyncio.sleep(1)
        assert PATH in tree.nodes
        away = False
        await asyncio.sleep(1)
        assert tree.nodes == {}

    told(story)


def test_what_is_left_of_a_hold_of_ours_that_ended_is_taken_over(told: Told) -> None:
    async def story(held: ZooKeeperLeases, tree: Tree) -> None:
        tree.put(b"me 1", session=tree.session)
        async with held.hold("l", "me", 60.0) as lease:
            assert lease.ours
            with pytest.raises(Conflict, match="me holds the lease l"):
                async with held.hold("l", "me", 60.0):
                    raise AssertionError("it is held already")

    told(story)


def test_the_names_of_leases_that_are_held_are_known_by_their_beginning(told: Told) -> None:
    async def story(held: ZooKeeperLeases, tree: Tree) -> None:
        assert await held.held("work/") == ()
        async with held.hold("work/a b", "me", 60.0), held.hold("other", "me", 60.0):
            assert await held.held("work/") == ("work/a b",)
            assert set(await held.held("")) == {"work/a b", "other"}

    told(story)
