"""Who is asked whether a silent host answers, what counts as an answer, and for how long."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from typing import Any

import pytest

from csnode.bus.local import LocalBus
from csnode.clock import now
from csnode.contracts.keeper import Keeper, Standing
from csnode.directory.alone import AloneDirectory
from csnode.directory.directory import Health, Member, Serving
from csnode.faults import Unavailable
from csnode.testing.loop import simulate
from csnode.types import HostId, NodeId, PoolId
from roles.monitor import witnesses as asking
from roles.monitor.witnesses import ANSWER_S, ITSELF, KEEPERS_MAX, KEPT_S, Witnesses

ADDRESS = "192.0.2.1"


class Sees(Keeper):  # type: ignore[misc]
    """A keeper, or what the monitor sees with; None: it does not answer."""

    def __init__(self, reaches: bool | None, after_s: float = 0.0) -> None:
        self.reaches, self.after_s = reaches, after_s
        self.asked = 0

    async def reach(self, addresses: tuple[str, ...]) -> tuple[str, ...]:
        self.asked += 1
        assert addresses == (ADDRESS,)
        await asyncio.sleep(self.after_s)
        if self.reaches is None:
            raise Unavailable("nobody answers")
        return addresses if self.reaches else ()

    async def standing(self, host: HostId, pool: PoolId) -> Standing:
        raise Unavailable(f"nobody asks about the lease of {host} in {pool}")


def keeper(host: str, *, health: Health = Health.OK, contract: str = "Keeper") -> Member:
    """A node on the machine of that host, by the name of the host in capitals."""
    return Member(
        node=NodeId(f"{host}/keeper"), cluster="c", incarnation=1, number=1, host=host.upper(),
        roles=(), serves=(Serving(contract=contract, at=(host,)),), calls="", events="",
        health=health,
    )  # fmt: skip


Serve = Callable[[str, Sees], None]
Story = Callable[[Witnesses, Serve], Awaitable[Any]]


def told(story: Story, itself: Sees) -> Any:
    """The story; it is given the witnesses, and what serves a keeper at a host."""

    async def whole() -> Any:
        bus = LocalBus(AloneDirectory())
        prober: Any = itself
        witnesses = Witnesses(bus, prober)
        try:
            return await story(witnesses, lambda host, sees: bus.serve(sees, at=(host,)))
        finally:
            witnesses.close()

    return simulate(whole())


def asked(itself: Sees, members: list[Member], **keepers: Sees) -> asking.Testimony:
    """What was said of the host h in the end."""

    async def story(witnesses: Witnesses, serve: Serve) -> asking.Testimony | None:
        for host, sees in keepers.items():
            serve(host, sees)
        await witnesses.ask("h", ADDRESS, members)
        return witnesses.said("h")

    found: asking.Testimony | None = told(story, itself)
    assert found is not None
    return found


def test_each_witness_says_whether_it_reaches_the_host_and_is_named_as_people_call_it() -> None:
    members = [keeper("b"), keeper("a")]
    said = asked(Sees(False), members, a=Sees(True), b=Sees(False))
    assert (said.reached_by, said.missed_by) == (("A",), (ITSELF, "B"))
    said = asked(Sees(True), members, a=Sees(False), b=Sees(True))
    assert (said.reached_by, said.missed_by) == ((ITSELF, "B"), ("A",))


@pytest.mark.parametrize("mute", [Sees(None), Sees(False, after_s=ANSWER_S + 1)])
def test_a_witness_that_does_not_answer_in_time_says_nothing(mute: Sees) -> None:
    """It may be cut off itself: it is no word that the host is off."""
    said = asked(Sees(None), [keeper("a"), keeper("b")], a=mute, b=Sees(False, ANSWER_S - 1))
    assert (said.reached_by, said.missed_by) == ((), ("B",))


def test_only_keepers_of_other_hosts_that_are_well_are_asked() -> None:
    members = [
        keeper("h"), keeper("a", health=Health.SUSPECT), keeper("b", health=Health.DRAINING),
        keeper("c", contract="Compute"), keeper("d"),
    ]  # fmt: skip
    keepers = {name: Sees(True) for name in "habcd"}
    said = asked(Sees(False), members, **keepers)
    assert (said.reached_by, said.missed_by) == (("D",), (ITSELF,))
    assert [sees.asked for sees in keepers.values()] == [0, 0, 0, 0, 1]


def test_of_many_keepers_the_first_few_are_asked_whatever_order_they_are_heard_in() -> None:
    names = [f"k{n}" for n in range(KEEPERS_MAX + 3)]
    for order in (names, names[::-1]):
        said = asked(Sees(False), [keeper(n) for n in order], **{n: Sees(True) for n in names})
        assert said.reached_by == tuple(n.upper() for n in names[:KEEPERS_MAX])


def test_what_was_said_counts_from_when_it_was_asked_and_for_a_few_seconds() -> None:
    async def story(witnesses: Witnesses, serve: Serve) -> None:
        assert witnesses.said("h") is None
        began = now()
        await witnesses.ask("h", ADDRESS, [])
        said = witnesses.said("h")
        assert said is not None
        assert (said.at, now() - began) == (began, 1.0)
        assert witnesses.said("another") is None
        await asyncio.sleep(KEPT_S - 1)
        assert witnesses.said("h") is said
        await asyncio.sleep(0.1)
        assert witnesses.said("h") is None

    told(story, Sees(False, after_s=1.0))


def test_whoever_is_being_asked_is_not_asked_again_until_he_has_answered() -> None:
    itself = Sees(True, after_s=1.0)

    async def story(witnesses: Witnesses, serve: Serve) -> None:
        first = witnesses.ask("h", ADDRESS, [])
        assert witnesses.ask("h", ADDRESS, []) is first
        assert witnesses.ask("g", ADDRESS, []) is not first
        await first
        await witnesses.ask("h", ADDRESS, [])
        assert itself.asked == 3

    told(story, itself)


def test_witnesses_that_are_closed_wait_for_no_answer() -> None:
    async def story(witnesses: Witnesses, serve: Serve) -> None:
        task = witnesses.ask("h", ADDRESS, [])
        await asyncio.sleep(0.5)
        witnesses.close()
        with pytest.raises(asyncio.CancelledError):
            await task

    told(story, Sees(True, after_s=3600.0))
