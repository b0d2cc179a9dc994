"""What every directory must do. Subclass it; see tests/contract/test_directory.py."""

from __future__ import annotations

from abc import abstractmethod
from contextlib import AsyncExitStack

import pytest
from msgspec.structs import replace

from csnode.directory.directory import Directory, Health, Member, Serving, floor, serving
from csnode.testing.bus import until
from csnode.types import NodeId


def member(name: str, cluster: str = "one", **fields: object) -> Member:
    """Return a record, as a node would announce it."""
    made = Member(
        node=NodeId(name),
        cluster=cluster,
        incarnation=1,
        number=1,
        host=f"host of {name}",
        roles=("api",),
        serves=(Serving(contract="Compute", at=("h1", "h2")), Serving(contract="Data")),
        calls="tcp://127.0.0.1:9001",
        events="tcp://127.0.0.1:9002",
        load=0.5,
    )
    return replace(made, **fields)


def names(directory: Directory) -> list[str]:
    """Return who is there, in the order the directory gives."""
    return [str(member.node) for member in directory.members()]


class Log:
    """Watches a directory."""

    def __init__(self, directory: Directory) -> None:
        self.seen: list[tuple[str, bool]] = []
        directory.watch(lambda member, present: self.seen.append((str(member.node), present)))


class DirectorySuite:
    """The rules of csnode.directory.directory, as tests."""

    @abstractmethod
    def make(self, cluster: str = "one") -> Directory:
        """Return a directory, not yet open. All made by one test can reach each other."""

    async def test_a_node_knows_itself_at_once(self) -> None:
        async with self.make() as directory:
            assert directory.members() == []
            directory.announce(member("a"))
            assert directory.members() == [member("a")]

    async def test_all_find_all(self) -> None:
        async with AsyncExitStack() as stack:
            made = [await stack.enter_async_context(self.make()) for _ in range(5)]
            for directory, name in zip(made, "edcba", strict=True):
                directory.announce(member(name))
            await until(lambda: all(names(d) == list("abcde") for d in made))
            assert made[0].members()[1] == member("b")

    async def test_whoever_only_listens_sees_all_and_is_not_seen(self) -> None:
        async with self.make() as first, self.make() as listener:
            first.announce(member("a"))
            await until(lambda: names(listener) == ["a"])
            assert names(first) == ["a"]

    async def test_a_change_is_told(self) -> None:
        async with self.make() as first, self.make() as second:
            first.announce(member("a"))
            second.announce(member("b"))
            await until(lambda: names(second) == ["a", "b"])
            changed = member("a", number=2, serves=(), health=Health.DRAINING, load=2.0)
            first.announce(changed)
            await until(lambda: changed in second.members())
            assert first.members()[0] == changed

    async def test_a_watcher_hears_who_is_there_and_who_comes_and_goes(self) -> None:
        async with self.make() as first:
            first.announce(member("a"))
            log = Log(first)
            assert log.seen == [("a", True)]
            async with self.make() as second:
                second.announce(member("b"))
                await until(lambda: ("b", True) in log.seen)
            await until(lambda: ("b", False) in log.seen)
            assert log.seen == [("a", True), ("b", True), ("b", False)]  # never suspect
            assert names(first) == ["a"]

    async def test_a_node_that_says_goodbye_may_come_back(self) -> None:
        async with self.make() as first:
            for start in range(1, 4):
                async with self.make() as second:
                    second.announce(member("b", incarnation=start))
                    await until(lambda: names(first) == ["b"])
                await until(lambda: names(first) == [])

    async def test_a_new_start_replaces_the_old_record(self) -> None:
        async with self.make() as first, self.make() as old, self.make() as new:
            old.announce(member("b", incarnation=1))
            await until(lambda: names(first) == ["b"])
            again = member("b", incarnation=2, calls="tcp://127.0.0.1:9999")
            new.announce(again)
            await until(lambda: list(first.members()) == [again])

    async def test_members_are_found_by_contract_and_place(self) -> None:
        async with self.make() as first, self.make() as second:
            first.announce(member("a", health=Health.DRAINING))
            second.announce(member("b", serves=(Serving(contract="Compute", at=("h2",)),)))
            await until(lambda: names(first) == ["a", "b"])
            members = first.members()
            assert [m.node for m in serving(members, "Compute")] == ["b", "a"]
            assert [m.node for m in serving(members, "Compute", "h1")] == ["a"]
            assert [m.node for m in serving(members, "Data", "anywhere")] == ["a"]
            assert serving(members, "Compute", "h3") == []
            assert floor(members) == members[0].wire


class RemoteSuite(DirectorySuite):
    """And the rules of those whose nodes are processes of their own."""

    @abstractmethod
    def drop(self, directory: Directory) -> None:
        """End it without a goodbye, as kill -9 does."""

    async def dropped(self, name: str, incarnation: int = 1, *, seen_by: Directory) -> None:
        """Bring up a node, and kill it once the other has seen it."""
        directory = self.make()
        await directory.__aenter__()
        directory.announce(member(name, incarnation=incarnation))
        await until(lambda: name in names(seen_by))
        self.drop(directory)

    async def test_a_node_that_is_killed_is_gone(self) -> None:
        async with self.make() as first, self.make() as listener:
            first.announce(member("a"))
            await self.dropped("b", seen_by=first)
            log = Log(first)
            await until(lambda: names(first) == ["a"] and names(listener) == ["a"])
            assert log.seen[-1] == ("b", False)
            assert log.seen.count(("b", False)) == 1

    async def test_whoever_comes_later_finds_those_who_live_only(self) -> None:
        async with self.make() as first:
            first.announce(member("a"))
            await self.dropped("b", seen_by=first)
            await until(lambda: names(first) == ["a"])
            async with self.make() as late:
                await until(lambda: names(late) == ["a"])

    async def test_a_node_started_again_is_not_gone_when_its_dead_self_is(self) -> None:
        async with self.make() as first:
            await self.dropped("b", incarnation=1, seen_by=first)
            await self.dropped("c", seen_by=first)  # dies later, so is gone later
            async with self.make() as again:
                newer = member("b", incarnation=2)
                again.announce(newer)
                await until(lambda: newer in first.members())
                log = Log(first)
                await until(lambda: names(first) == ["b"])
                assert ("b", False) not in log.seen
                assert list(first.members()) == [newer]


class BeatingSuite(RemoteSuite):
    """And the rules of those that live on datagrams."""

    @abstractmethod
    def heard(self, directory: Directory) -> list[tuple[bytes, tuple[str, int]]]:
        """Keep what it receives from now on also in this list: datagram and sender."""

    @abstractmethod
    def send(self, directory: Directory, datagram: bytes) -> None:
        """Send a datagram to the directory, as somebody else."""

    async def test_clusters_do_not_see_each_other(self) -> None:
        async with self.make() as one, self.make("two") as two, self.make() as witness:
            seen = self.heard(one)
            two.announce(member("b", cluster="two"))
            one.announce(member("a"))
            await until(lambda: names(witness) == ["a"] and seen)
            assert (names(one), names(two)) == (["a"], ["b"])

    async def test_a_silent_node_is_suspect_and_then_gone(self) -> None:
        async with self.make() as first:
            second = self.make()
            await second.__aenter__()
            second.announce(member("b"))
            await until(lambda: names(first) == ["b"])
            log = Log(first)
            self.drop(second)
            await until(lambda: [m.health for m in first.members()] == [Health.SUSPECT])
            await until(lambda: names(first) == [])
            assert log.seen == [("b", True), ("b", True), ("b", False)]

    async def test_an_old_datagram_is_refused(self) -> None:
        async with self.make() as first:
            seen = self.heard(first)
            async with self.make() as second:
                second.announce(member("b"))
                await until(lambda: names(first) == ["b"] and len(seen) >= 3)
            await until(lambda: names(first) == [])
            log, arrived = Log(first), len(seen)
            for datagram, _ in list(seen):
                self.send(first, datagram)
            await until(lambda: len(seen) >= 2 * arrived)
            assert log.seen == []
            assert names(first) == []

    async def test_a_bad_datagram_is_ignored(self) -> None:
        async with self.make() as first, self.make() as second:
            seen = self.heard(first)
            second.announce(member("b"))
            await until(lambda: names(first) == ["b"])
            good = next(datagram for datagram, _ in seen)
            before = len(seen)
            tampered = good[:-1] + bytes([good[-1] ^ 1])
            bad = [b"", b"\x01", good[:20], tampered, b"\x02" + good[1:], b"x" * 2000]
            for datagram in bad:
                self.send(first, datagram)
            second.announce(member("b", number=2))
            await until(lambda: member("b", number=2) in first.members())
            await until(lambda: len(seen) >= before + len(bad))
            assert names(first) == ["b"]


class StoredSuite(RemoteSuite):
    """And the rules of those that keep their entries in a server, which may itself be away."""

    @abstractmethod
    async def kill(self) -> None:
        """Kill the server with kill -9."""

    @abstractmethod
    async def start(self, *, forgetful: bool = False) -> None:
        """Start it again at the same address; `forgetful`: with nothing of what it held."""

    @abstractmethod
    async def freeze(self) -> None:
        """Freeze the server: connections stand, nothing is answered; `start` ends it."""

    @abstractmethod
    async def entries(self) -> dict[str, bytes]:
        """Return what the server holds of cluster "one", by name."""

    @abstractmethod
    async def plant(self, name: str, sealed: bytes) -> None:
        """Write an entry past the directory, as somebody else."""

    @abstractmethod
    def forged(self) -> list[bytes]:
        """Return entries of node "x" that nobody may believe, sealed by others."""

    @abstractmethod
    def troubled(self, directory: Directory, seconds: float) -> bool:
        """Tell whether it has said for so long that the server does not answer."""

    @abstractmethod
    def refused(self, directory: Directory) -> int:
        """Count the entries it ignored."""

    @abstractmethod
    def knows(self, directory: Directory, sealed: bytes) -> bool:
        """Tell whether it has taken in that entry, or a later one of its node."""

    async def test_clusters_do_not_see_each_other(self) -> None:
        async with self.make() as one, self.make("two") as two, self.make() as witness:
            two.announce(member("b", cluster="two"))
            one.announce(member("a"))
            await until(lambda: names(witness) == ["a"] and names(two) == ["b"])
            assert names(one) == ["a"]

    async def test_entries_of_strangers_are_ignored_and_counted(self) -> None:
        async with self.make() as first, self.make() as second:
            second.announce(member("b"))
            await until(lambda: names(first) == ["b"])
            ((name, good),) = (await self.entries()).items()
            tampered = good[:-1] + bytes([good[-1] ^ 1])
            bad = [b"", b"nonsense", tampered, good, *self.forged()]  # good: under another's name
            for number, sealed in enumerate(bad):
                await self.plant(f"x~{number}", sealed)
            await until(lambda: self.refused(first) >= len(bad))
            second.announce(member("b", number=2))
            await until(lambda: list(first.members()) == [member("b", number=2)])
            assert name in await self.entries()

    async def test_an_old_entry_put_back_is_not_believed(self) -> None:
        async with self.make() as first:
            async with self.make() as second:
                second.announce(member("b"))
                await until(lambda: names(first) == ["b"])
                ((name, old),) = (await self.entries()).items()
                await until(lambda: self.knows(first, old))  # it may have been written again
            await until(lambda: names(first) == [])
            log, refused = Log(first), self.refused(first)
            await self.plant(name, old)
            await self.plant("x~1", b"nonsense")  # once it is seen, the other was
            await until(lambda: self.refused(first) > refused)
            async with self.make() as third:
                third.announce(member("c"))
                await until(lambda: ("c", True) in log.seen)
            assert ("b", True) not in log.seen

    async def test_nobody_is_gone_because_the_server_was_away(self) -> None:
        async with self.make() as first, self.make() as second:
            first.announce(member("a"))
            second.announce(member("b"))
            await until(lambda: names(first) == names(second) == ["a", "b"])
            log = Log(first)
            await self.kill()
            await until(lambda: self.troubled(first, 6.0) and self.troubled(second, 6.0))
            changed = member("b", number=2, load=3.0)
            second.announce(changed)
            async with self.make() as third:
                third.announce(member("c"))
                assert (names(first), names(third)) == (["a", "b"], ["c"])
                await self.start()
                await until(lambda: names(first) == names(third) == ["a", "b", "c"])
                await until(lambda: changed in first.members())
                await until(lambda: not self.troubled(first, 0) and not self.troubled(second, 0))
                assert not [name for name, present in log.seen if not present]
            await until(lambda: names(first) == ["a", "b"])

    @pytest.mark.parametrize("forgetful", [False, True])
    async def test_a_server_killed_and_started_again_loses_nobody(self, forgetful: bool) -> None:
        async with self.make() as first, self.make() as second:
            first.announce(member("a"))
            second.announce(member("b"))
            await until(lambda: names(first) == names(second) == ["a", "b"])
            log = Log(first)
            await self.kill()
            await until(lambda: self.troubled(first, 0))
            await self.start(forgetful=forgetful)
            await until(lambda: not self.troubled(first, 0) and not self.troubled(second, 0))
            async with self.make() as late:
                await until(lambda: names(late) == ["a", "b"])
                late.announce(member("c"))
                await until(lambda: names(first) == names(second) == ["a", "b", "c"])
            await until(lambda: names(first) == ["a", "b"])
            assert {name for name, present in log.seen if not present} == {"c"}

    async def test_a_frozen_server_is_as_good_as_none(self) -> None:
        async with self.make() as first, self.make() as second:
            first.announce(member("a"))
            second.announce(member("b"))
            await until(lambda: names(first) == names(second) == ["a", "b"])
            log = Log(first)
            await self.freeze()
            await until(lambda: self.troubled(first, 0) and self.troubled(second, 0))
            await self.start()
            await until(lambda: not self.troubled(first, 0) and not self.troubled(second, 0))
            changed = member("b", number=2, health=Health.DRAINING)
            second.announce(changed)
            await until(lambda: changed in first.members())
            assert not [name for name, present in log.seen if not present]

    async def test_whoever_dies_while_the_server_is_away_is_gone_after_it(self) -> None:
        async with self.make() as first:
            first.announce(member("a"))
            second = self.make()
            await second.__aenter__()
            second.announce(member("b"))
            await until(lambda: names(first) == ["a", "b"])
            await self.kill()
            await until(lambda: self.troubled(first, 0))
            self.drop(second)
            await self.start()
            assert names(first) == ["a", "b"]
            await until(lambda: names(first) == ["a"])
