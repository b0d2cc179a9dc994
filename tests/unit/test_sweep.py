"""When a stranger may be taken away: after its patience, and never where most are strangers."""

from __future__ import annotations

import asyncio

from csnode.bus.local import LocalBus
from csnode.data.store import Store
from csnode.directory.alone import AloneDirectory
from csnode.model.job import Job, JobState
from csnode.sweep import FEW, Strangers, at_work
from csnode.testing.loop import simulate
from roles.data.config import DataConfig
from tests.contract.data_writer import playing

PATIENCE_S = 30.0


def told(*looks: tuple[float, str, int]) -> list[tuple[list[str], str]]:
    """What each look finds ripe, and its trouble. A look: seconds later, strangers, all held."""

    async def story() -> list[tuple[list[str], str]]:
        strangers, found = Strangers("machines", "h1", PATIENCE_S), list[tuple[list[str], str]]()
        assert not strangers.many
        for later, names, held in looks:
            await asyncio.sleep(later)
            ripe = strangers.ripe(names.split(), held)
            found.append((ripe, strangers.trouble))
            assert strangers.many is (len(names.split()) > FEW and len(names.split()) * 2 > held)
        return found

    return simulate(story())


def test_a_stranger_is_ripe_once_it_was_one_for_the_whole_patience() -> None:
    looks = told((0, "b a", 9), (29, "a b", 9), (1, "a b", 9), (9, "b", 9))
    assert looks == [([], ""), ([], ""), (["a", "b"], ""), (["b"], "")]


def test_a_stranger_that_was_known_for_one_look_is_waited_for_again() -> None:
    assert told((0, "a", 9), (29, "", 9), (1, "a", 9), (29, "a", 9), (1, "a", 9)) == [
        ([], ""), ([], ""), ([], ""), ([], ""), (["a"], "")]  # fmt: skip


def test_a_few_strangers_go_though_they_are_all_there_is() -> None:
    assert told((0, "a b c", 3), (30, "a b c", 3))[1] == (["a", "b", "c"], "")


def test_half_of_all_may_be_strangers_and_more_may_not() -> None:
    assert told((0, "a b c d", 8), (30, "a b c d", 8))[1] == (["a", "b", "c", "d"], "")
    (_, young), (ripe, trouble) = told((0, "a b c d", 7), (30, "a b c d", 7))
    assert (young, ripe) == ("", [])
    assert trouble.startswith("4 of 7 machines on h1 are in no record")


def test_the_trouble_ends_with_its_cause() -> None:
    looks = told((0, "a b c d", 4), (30, "a b c d", 4), (1, "a", 4), (1, "", 4))
    assert [bool(trouble) for _, trouble in looks] == [False, True, False, False]
    assert looks[2][0] == ["a"]


def test_a_job_is_at_work_on_an_object_until_it_has_ended_well_or_undone() -> None:
    async def story() -> dict[JobState, bool]:
        bus = LocalBus(AloneDirectory())
        async with playing(bus, DataConfig(path=":memory:", inline=True)):
            store = Store(bus, "orchestrator")
            change = store.change()
            for state in JobState:
                change.create(
                    Job(id=f"j-{state}", verb="x", order={}, state=state, object_id=f"o-{state}")
                )
            await change.commit()
            assert not await at_work(store, "another")
            return {state: await at_work(store, f"o-{state}") for state in JobState}

    ended = {JobState.DONE, JobState.FAILED}
    assert simulate(story()) == {state: state not in ended for state in JobState}
