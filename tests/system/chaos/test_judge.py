"""The judge itself: a history that is right passes, and one with each kind of damage does not."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
from msgspec.structs import replace

from csnode.model.machine import GuestNic
from csnode.types import NetworkId, NicId, VmId
from tests.system.chaos.figures import CLEAN, Progress
from tests.system.chaos.hardware import Outside
from tests.system.chaos.judge import judgement
from tests.system.chaos.machine import Machine
from tests.system.chaos.probe import longest_wait
from tests.system.chaos.record import Kind, Record, Request, kind_of
from tests.system.chaos.registers import Act, judged
from tests.system.chaos.remains import Listed
from tests.system.chaos.run import verdict
from tests.system.rolling.run import failures

HOST, POOL, NET = "host-1", "pool-1", "net-1"


class Story:
    """Histories, told a request a second; each takes half a second."""

    def __init__(self) -> None:
        self.record = Record()
        self.clock = 0.0

    def ask(self, command: str, kind: Kind = "ok", answer: Any = None, **params: str) -> Request:
        self.clock += 1.0
        request = Request(
            client=1, at="api-1", command=command, params=params, invoked=self.clock,
            completed=self.clock + 0.5, kind=kind, answer=answer or {},
            status={"ok": 200, "refused": 431}.get(kind, 534),
        )  # fmt: skip
        self.record.note(request)
        return request

    def order(self, verb: str, machine: str, job: str, *, ends: bool = True, well: bool = True,
              name: str = "") -> None:  # fmt: skip
        if verb == "deploy":
            params = {"customid": machine, "displayname": name or f"first-{machine}"}
        else:
            params = {"id": machine}
        self.ask(f"{verb}VirtualMachine", "ok", {"jobid": job}, customjobid=job, **params)
        self.query(job, 0)
        if ends:
            self.query(job, 1 if well else 2)

    def query(self, job: str, status: int) -> None:
        self.ask("queryAsyncJobResult", answer={"jobstatus": status}, jobid=job)

    def rename(self, machine: str, name: str, kind: Kind = "ok") -> None:
        self.ask("updateVirtualMachine", kind, id=machine, displayname=name)

    def look(self, machine: str, name: str, state: str = "Running") -> None:
        rows = [row(machine, name, state)]
        self.ask("listVirtualMachines", answer={"virtualmachine": rows}, id=machine)

    def look_in_vain(self, machine: str) -> None:
        self.ask("listVirtualMachines", "refused", id=machine)

    def survey(self, *rows: dict[str, Any]) -> None:
        self.ask("listVirtualMachines", answer={"virtualmachine": list(rows)}, listall="true")


def row(machine: str, name: str = "n", state: str = "Running", address: str = "") -> dict[str, Any]:
    nic = {"id": f"nic-{machine}", "networkid": NET, "ipaddress": address or f"10.0.0.{machine}",
           "macaddress": f"02:{machine}"}  # fmt: skip
    return {"id": machine, "displayname": name, "state": state, "hostid": HOST, "nic": [nic]}


def world(*rows: dict[str, Any]) -> tuple[Listed, Outside]:
    """Lists and hardware that agree on these machines."""
    volumes = {f"disk-{r['id']}": {"state": "Ready", "storageid": POOL} for r in rows}
    listed = Listed(
        machines={r["id"]: r for r in rows}, volumes=volumes, networks={NET: {}}, open_jobs=()
    )
    outside = Outside()
    outside.domains[HOST] = {r["id"]: True for r in rows if r["state"] == "Running"}
    outside.volumes[POOL] = set(volumes)
    outside.cards[HOST] = {NET: [card(r["id"]) for r in rows]}
    return listed, outside


def card(machine: str) -> GuestNic:
    return GuestNic(
        nic=NicId(f"nic-{machine}"), network=NetworkId(NET), vm=VmId(machine),
        mac=f"02:{machine}", address=f"10.0.0.{machine}", hostname="h",
    )  # fmt: skip


def told() -> Story:
    """A short history without a fault: two machines, one of them destroyed in the end."""
    story = Story()
    story.order("deploy", "1", "job-1")
    story.look("1", "first-1")
    story.rename("1", "second-1")
    story.rename("1", "maybe-1", "unknown")
    story.look("1", "maybe-1")
    story.order("stop", "1", "job-2")
    story.look("1", "maybe-1", "Stopped")
    story.order("deploy", "2", "job-3")
    story.order("destroy", "2", "job-4")
    story.look_in_vain("2")
    story.survey(row("1", "maybe-1", "Stopped"))
    return story


def checks(story: Story, found: tuple[Listed, Outside] | None = None) -> set[str]:
    """The names of what the judge finds."""
    listed, outside = found or world(row("1", "maybe-1", "Stopped"))
    return {finding.check for finding in judgement(story.record, listed, outside)}


def test_a_history_without_a_fault_passes() -> None:
    assert checks(told()) == set()


# -- jobs ----------------------------------------------------------------------------------


def test_a_job_that_never_ends_is_found() -> None:
    story = told()
    story.order("start", "1", "job-5", ends=False)
    assert checks(story) == {"job-never-ended"}


def test_a_job_that_is_forgotten_is_found() -> None:
    story = told()
    story.ask("queryAsyncJobResult", "refused", jobid="job-2")
    assert checks(story) == {"job-lost"}


def test_a_job_that_was_accepted_and_is_unknown_from_then_on_is_found() -> None:
    story = told()
    job = {"jobid": "job-5"}
    story.ask("startVirtualMachine", answer=job, customjobid="job-5", id="1")
    story.ask("queryAsyncJobResult", "refused", jobid="job-5")
    assert checks(story) == {"job-lost"}


@pytest.mark.parametrize("status", [0, 2])
def test_a_job_that_does_not_stay_as_it_ended_is_found(status: int) -> None:
    story = told()
    story.query("job-2", status)
    assert checks(story) == {"job-changed"}


def test_an_order_that_was_refused_owes_nothing() -> None:
    story = told()
    story.ask("startVirtualMachine", "refused", customjobid="job-5", id="1")
    assert checks(story) == set()


def test_an_order_that_nobody_answered_and_no_api_knows_owes_nothing() -> None:
    story = told()
    story.ask("startVirtualMachine", "unknown", customjobid="job-5", id="1")
    story.ask("queryAsyncJobResult", "refused", jobid="job-5")
    story.ask("startVirtualMachine", "refused", customjobid="job-5", id="1")
    assert checks(story) == set()


# -- names ---------------------------------------------------------------------------------


def test_a_lost_write_is_found() -> None:
    story = told()
    story.rename("1", "third-1")
    story.look("1", "maybe-1", "Stopped")
    assert checks(story) == {"stale-or-lost-name"}


def test_a_stale_read_is_found() -> None:
    story = told()
    story.rename("1", "third-1")
    story.look("1", "third-1", "Stopped")
    story.look("1", "maybe-1", "Stopped")
    story.look("1", "third-1", "Stopped")
    assert checks(story) == {"stale-or-lost-name"}


def test_a_write_seen_before_it_was_made_is_found() -> None:
    story = told()
    story.look("1", "third-1", "Stopped")
    story.rename("1", "third-1")
    assert checks(story) == {"stale-or-lost-name"}


def test_a_name_that_nobody_gave_is_found() -> None:
    story = told()
    story.look("1", "surprise", "Stopped")
    assert checks(story) == {"stale-or-lost-name"}


def test_a_refused_name_that_shows_is_found() -> None:
    story = told()
    story.rename("1", "third-1", "refused")
    story.look("1", "third-1", "Stopped")
    assert checks(story) == {"refused-name-shows"}


def test_a_write_nobody_knows_the_end_of_may_show_late_or_never() -> None:
    story = told()
    story.rename("1", "late-1", "unknown")
    story.look("1", "maybe-1", "Stopped")
    assert checks(story) == set()
    story.look("1", "late-1", "Stopped")
    assert checks(story) == set()
    story.look("1", "maybe-1", "Stopped")
    assert checks(story) == {"stale-or-lost-name"}


def _act(value: str, invoked: float, completed: float, write: bool = False) -> Act:
    return Act(value=value, invoked=invoked, completed=completed, write=write, by="somebody")


def test_side_by_side_acts_may_have_happened_in_any_order() -> None:
    acts = [_act("a", 0, 1, True), _act("b", 2, 9, True), _act("a", 3, 4), _act("b", 5, 6)]
    assert list(judged(acts)) == []


def test_side_by_side_acts_do_not_excuse_going_back() -> None:
    acts = [_act("a", 0, 1, True), _act("b", 2, 9, True), _act("b", 3, 4), _act("a", 5, 6)]
    assert len(list(judged(acts))) == 1


# -- states --------------------------------------------------------------------------------


def test_a_state_that_no_order_explains_is_found() -> None:
    story = told()
    story.look("1", "maybe-1", "Running")
    assert checks(story) == {"wrong-state"}


def test_a_state_that_goes_back_while_an_order_is_at_work_is_found() -> None:
    story = told()
    story.order("start", "1", "job-5", ends=False)
    story.look("1", "maybe-1", "Starting")
    story.look("1", "maybe-1", "Stopped")
    story.query("job-5", 1)
    assert checks(story, world(row("1", "maybe-1"))) == {"wrong-state"}


@pytest.mark.parametrize("listed", [True, False])
def test_an_acknowledged_machine_that_is_gone_is_found(listed: bool) -> None:
    story = told()
    if listed:
        story.survey()
    else:
        story.look_in_vain("1")
    assert checks(story) == {"wrong-state"}


def test_a_destroyed_machine_that_comes_back_is_found() -> None:
    story = told()
    story.look("2", "first-2")
    assert checks(story) == {"wrong-state"}


def test_a_failed_job_leaves_the_state_open_but_not_the_machine() -> None:
    story = told()
    story.order("start", "1", "job-5", well=False)
    story.look("1", "maybe-1", "Stopped")
    story.look("1", "maybe-1", "Error")
    assert checks(story) == set()
    story.look_in_vain("1")
    assert checks(story) == {"wrong-state"}


# -- addresses -----------------------------------------------------------------------------


def test_an_address_that_two_machines_have_is_found() -> None:
    story = told()
    story.order("deploy", "3", "job-5")
    story.survey(row("1", "maybe-1", "Stopped"), row("3", "first-3", address="10.0.0.1"))
    rows = (row("1", "maybe-1", "Stopped"), row("3", "first-3"))
    assert checks(story, world(*rows)) == {"address-twice"}


# -- what is left --------------------------------------------------------------------------

ONE = ("1", "maybe-1", "Stopped")


DAMAGE: dict[str, Callable[[Listed, Outside], object]] = {
    "domain-of-nobody": lambda _, there: there.domains[HOST].update({"9": True}),
    "machine-on-two-hosts": lambda _, there: there.domains.update({"host-2": {"3": False}}),
    "runs-unlisted": lambda _, there: there.domains[HOST].update({"1": True}),
    "does-not-run": lambda _, there: there.domains[HOST].update({"3": False}),
    "in-transition": lambda listed, _: listed.machines["1"].update(state="Stopping"),
    "bytes-of-nobody": lambda _, there: there.volumes[POOL].add("disk-9"),
    "volume-in-two-pools": lambda _, there: there.volumes.update({"pool-2": {"disk-3"}}),
    "volume-without-bytes": lambda _, there: there.volumes[POOL].remove("disk-3"),
    "lease-of-nobody": lambda _, there: there.cards[HOST][NET].append(card("9")),
    "lease-differs": lambda _, there: there.cards[HOST].update(
        {NET: [card("1"), replace(card("3"), address="10.0.0.99")]}
    ),
    "lease-missing": lambda _, there: there.cards[HOST][NET].pop(),
    "router-of-nobody": lambda _, there: there.cards[HOST].update({"net-9": []}),
    "two-routers": lambda _, there: there.cards.update({"host-2": {NET: []}}),
    "machine-of-nobody": lambda listed, _: listed.machines.update({"9": row("9", state="Stopped")}),
}


@pytest.mark.parametrize("damage", DAMAGE)
def test_damage_that_is_left_is_found(damage: str) -> None:
    """Machine 1 is stopped and 3 runs; then something is not as it should be."""
    story = told()
    story.order("deploy", "3", "job-5")
    listed, there = world(row(*ONE), row("3", "first-3"))
    assert checks(story, (listed, there)) == set()
    DAMAGE[damage](listed, there)
    assert checks(story, (listed, there)) == {damage}


def test_a_job_that_is_still_open_when_all_is_quiet_is_found() -> None:
    listed, there = world(row(*ONE))
    listed = replace(listed, open_jobs=("job-9",))
    assert checks(told(), (listed, there)) == {"job-still-open"}


# -- figures -------------------------------------------------------------------------------


def test_a_wait_lasts_to_the_first_answer_to_that_tick_or_a_later_one() -> None:
    sent = [0.0, 1.0, 2.0, 3.0, 4.0]
    answered = [0.1, float("inf"), 3.5, 3.2, 4.1]
    assert longest_wait(sent, answered, 0.0, 9.0) == pytest.approx(2.2)
    assert longest_wait(sent, answered, 0.0, 1.0) == pytest.approx(0.1)
    assert longest_wait(sent, answered, 2.0, 4.0) == pytest.approx(1.2)


def test_work_goes_on_with_the_next_commit_of_a_job_that_was_open() -> None:
    commits = [("a", 1.0, True), ("a", 5.0, True), ("a", 6.0, False),
               ("b", 1.0, True), ("b", 2.0, False), ("c", 4.0, True)]  # fmt: skip
    assert Progress(commits).resumed(3.0) == {"a": 2.0}
    assert Progress(commits).resumed(5.5) == {"a": 0.5, "c": float("inf")}


@pytest.mark.parametrize(
    ("status", "kind"),
    [(200, "ok"), (431, "refused"), (536, "refused"), (0, "unknown"), (534, "unknown")],
)
def test_only_a_definite_answer_is_taken_for_one(status: int, kind: str) -> None:
    assert kind_of(status) == kind


# -- what a report is worth --------------------------------------------------------------------


def test_verify_counts_as_clean_only_if_it_looked_and_found_nothing() -> None:
    assert verdict(0, b'{"looked at": {"vm": 2}, "findings": []}', b"") == CLEAN
    for code, said in (
        (0, b""),
        (0, b"{}"),
        (0, b'{"looked at": {}, "findings": []}'),
        (0, b'{"looked at": {"vm": 2}, "findings": [{"check": "x"}]}'),
        (1, b'{"looked at": {"vm": 2}, "findings": []}'),
        (69, b""),
    ):
        assert verdict(code, said, b"csnode: no node can be heard") not in ("", CLEAN)


def test_an_unknown_machine_is_a_failure_until_somebody_has_it_destroyed() -> None:
    story = Story()
    early = story.ask("listVirtualMachines", "refused", id="a")
    story.ask("destroyVirtualMachine", id="a")
    story.ask("listVirtualMachines", "refused", id="a")
    other = story.ask("listVirtualMachines", "refused", id="b")
    order = story.ask("deployVirtualMachine", "refused")
    assert failures(story.record.requests) == [early, other, order]


def test_a_piece_of_work_tells_how_busy_the_machine_is() -> None:
    pace = Machine().pace()
    assert pace.cores >= 1
    assert pace.work_ms > 0
    assert pace.slowest >= pace.slower > 0.5
