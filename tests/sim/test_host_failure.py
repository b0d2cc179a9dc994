"""Hosts die, seem to die, and come back: machines run elsewhere, and never twice.

The judge is the hardware: which machines are on, at which hosts, looked at four times a second.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from functools import partial
from typing import Any

import pytest

from csnode.contracts.fabric import Fabric
from csnode.drivers.hypervisor import Hypervisor
from csnode.faults import Conflict
from csnode.model.alert import Alert
from csnode.model.event import UserEvent
from csnode.model.host import Host, Seen, StoragePool
from csnode.model.job import Job
from csnode.model.network import Network
from csnode.model.orders import ReturnHost
from csnode.model.vm import Vm, Want
from csnode.testing.loop import simulate
from csnode.testing.trial import URL, watched
from csnode.testing.world import World
from csnode.types import HostId, Power
from csnode.verify.judge import verify

GUESTS = ("compute", "network")
SHAPE = {
    "data": ("data",),
    "api-1": ("api",),
    "orc-1": ("orchestrator",),
    "orc-2": ("orchestrator",),
    "host-1": GUESTS,
    "host-1.keeper": ("keeper",),
    "host-2": GUESTS,
    "host-2.keeper": ("keeper",),
    "host-3": GUESTS,
    "host-3.keeper": ("keeper",),
    "san": (*GUESTS, "storage"),  # runs no machines; the others reach its pool
    "watch-1": ("monitor", "fabric"),
    "watch-2": ("monitor", "fabric"),
}
HOSTS = ("host-1", "host-2", "host-3")
FENCED: dict[str, Any] = {"fabric": {"fence": "sim"}}
BEACONS_S = 5.0


class Cloud:
    """A world with a template and an offering of each kind."""

    def __init__(self, world: World) -> None:
        self.world, self.power = world, world.power
        self._about: dict[str, str] = {}

    async def ask(self, command: str, **params: str) -> dict[str, Any]:
        status, answer = await self.world.ask("api-1", command, params)
        assert status == 200, answer
        return answer

    async def first(self, command: str, **params: str) -> dict[str, Any]:
        return next(v for k, v in (await self.ask(command, **params)).items() if k != "count")[0]

    async def prepare(self) -> None:
        pool = (await self.world.store.find(StoragePool))[0]
        change = self.world.store.change()
        reached = tuple(HostId(self.power.host(name)) for name in HOSTS)
        change.update(StoragePool, pool.id, host=None, hosts=reached)
        change.update(Host, self.power.host("san"), enabled=False)
        await change.commit()
        zone = (await self.first("listZones"))["id"]
        made = await self.ask(
            "registerTemplate", name="tiny", displaytext="tiny", url=URL, format="QCOW2",
            hypervisor="KVM", zoneid=zone, ostypeid=(await self.first("listOsTypes"))["id"],
        )  # fmt: skip
        offering = await self.ask(
            "createServiceOffering", name="kept", displaytext="kept", cpunumber="1",
            cpuspeed="500", memory="512", offerha="true",
        )  # fmt: skip
        self.kept = offering["serviceoffering"]["id"]
        self.plain = (await self.first("listServiceOfferings", name="Small Instance"))["id"]
        self._about = {"zoneid": zone, "templateid": made["template"][0]["id"]}

        async def ready() -> bool:
            return bool((await self.first("listTemplates", templatefilter="all"))["isready"])

        assert await self.world.until(ready, 60)

    async def order(self, offering: str, **more: str) -> dict[str, Any]:
        """A machine that may run some time; what the api answered."""
        asked = {"serviceofferingid": offering, **self._about, **more}
        return await self.ask("deployVirtualMachine", **asked)

    async def deploy(self, offering: str) -> str:
        """The id of a machine that runs."""
        asked = await self.order(offering)
        assert await self.ended(asked["jobid"])
        return str(asked["id"])

    async def ended(self, job: str) -> bool:
        """Whether the job is done; False if it failed."""

        async def over() -> bool:
            return not (await self.world.store.get(Job, job)).open

        assert await self.world.until(over, 600)
        return (await self.world.store.get(Job, job)).state == "done"

    async def vm(self, id: str) -> Vm:
        return await self.world.store.get(Vm, id)

    async def host(self, machine: str) -> Host:
        return await self.world.store.get(Host, self.power.host(machine))

    async def home(self, vm: str) -> str:
        """The name of the machine's host."""
        row = await self.vm(vm)
        return (await self.world.store.get(Host, row.host)).name if row.host else ""

    def on(self, vm: str) -> list[str]:
        """Hosts that really run it."""
        return [
            name
            for name in HOSTS
            if (m := self.world.outside(Hypervisor, self.power.host(name)).machines.get(vm))
            and m.power is Power.ON
        ]

    async def seen(self, machine: str, state: Seen, seconds: float = 60) -> bool:
        async def so() -> bool:
            return (await self.host(machine)).seen is state

        return await self.world.until(so, seconds, 0.05)

    async def runs_elsewhere(self, vm: str, than: str, seconds: float = 120) -> bool:
        async def so() -> bool:
            return bool(self.on(vm)) and self.on(vm) != [than] and (await self.home(vm)) != than

        return await self.world.until(so, seconds, 0.05)

    def cut_off(self, *machines: str) -> None:
        """Nothing reaches these, and they reach nothing but each other."""
        self.world.part(*(n for n, p in self.world.processes.items() if p.machine in machines))

    async def at_peace(self) -> None:
        """Every job ended, and verify finds nothing; the sweeps have come round."""

        async def quiet() -> bool:
            return not any(job.open for job in await self.world.store.find(Job))

        await asyncio.sleep(90)
        assert await self.world.until(quiet, 300)
        findings = (await verify(self.world.bus, self.world.store)).findings
        off = [h.name for h in await self.world.store.find(Host) if h.fenced]
        silent = tuple(f"{name} does not say" for name in off)
        told = [f"{f.check}: {f.what}" for f in findings if not f.what.startswith(silent)]
        assert told == []


def played(
    story: Callable[[Cloud], Awaitable[Any]], seed: int = 1, **sections: dict[str, Any]
) -> Any:
    """The story in a cloud whose hosts can be fenced, with an eye on machines that run twice."""

    async def whole() -> Any:
        async with World(seed, SHAPE, sections=FENCED | sections) as world:
            cloud = Cloud(world)
            await cloud.prepare()
            watching = asyncio.create_task(watched(world))
            try:
                result = await story(cloud)
            finally:
                watching.cancel()
            assert world.broken == []
            return result

    return simulate(whole())


async def alerts(cloud: Cloud) -> list[str]:
    return [alert.text for alert in await cloud.world.store.find(Alert)]


# -- a host dies -----------------------------------------------------------------------------------


def test_after_a_power_cut_a_machine_to_be_kept_running_runs_elsewhere() -> None:
    async def story(cloud: Cloud) -> None:
        vm = await cloud.deploy(cloud.kept)
        home = await cloud.home(vm)
        await cloud.power.cut(home)
        lost_at = cloud.world.loop.epoch + cloud.world.loop.time()
        assert await cloud.runs_elsewhere(vm, home)
        starts = [
            j for j in await cloud.world.store.find(Job, object_id=vm) if j.verb == "start_vm"
        ]
        assert starts[0].created - lost_at <= BEACONS_S + 3.0
        host = await cloud.host(home)
        assert host.seen is Seen.DOWN
        assert host.fenced
        await cloud.at_peace()

    played(story)


def test_after_a_power_cut_other_machines_are_stopped_and_their_owners_told() -> None:
    async def story(cloud: Cloud) -> None:
        vm = await cloud.deploy(cloud.plain)
        home = await cloud.home(vm)
        await cloud.power.cut(home)

        async def released() -> bool:
            return (await cloud.vm(vm)).host is None

        assert await cloud.world.until(released, 60)
        row = await cloud.vm(vm)
        assert (row.want, row.maybe_on) == (Want.STOPPED, ())
        assert (await cloud.first("listVirtualMachines", id=vm))["state"] == "Stopped"
        events = await cloud.world.store.find(UserEvent)
        assert any(e.object_id == vm and "failed" in e.description for e in events)
        started = await cloud.ask("startVirtualMachine", id=vm)
        assert await cloud.ended(started["jobid"])
        assert cloud.on(vm) not in ([], [home])
        await cloud.at_peace()

    played(story)


def test_a_network_whose_router_died_has_one_again_for_machines_elsewhere() -> None:
    async def story(cloud: Cloud) -> None:
        vms = [await cloud.deploy(cloud.plain) for _ in range(3)]
        network = (await cloud.world.store.find(Network))[0]
        dead = (await cloud.world.store.get(Host, str(network.router))).name
        assert {await cloud.home(vm) for vm in vms} - {dead}
        await cloud.power.cut(dead)

        async def again() -> bool:
            row = await cloud.world.store.get(Network, network.id)
            return row.up and row.router not in (None, network.router)

        assert await cloud.world.until(again, 60)
        await cloud.at_peace()

    played(story)


def test_a_machine_that_finds_no_room_is_tried_until_it_does_and_says_why() -> None:
    async def story(cloud: Cloud) -> None:
        vm = await cloud.deploy(cloud.kept)
        home = await cloud.home(vm)
        others = [name for name in HOSTS if name != home]
        change = cloud.world.store.change()
        for name in others:
            change.update(Host, cloud.power.host(name), enabled=False)
        await change.commit()
        await cloud.power.cut(home)

        async def told() -> bool:
            return "is disabled" in (await cloud.vm(vm)).trouble

        assert await cloud.world.until(told, 120)
        await asyncio.sleep(300)
        assert (await cloud.vm(vm)).want is Want.RUNNING
        assert cloud.on(vm) == []
        change = cloud.world.store.change()
        change.update(Host, cloud.power.host(others[0]), enabled=True)
        await change.commit()
        assert await cloud.runs_elsewhere(vm, home)

        async def content() -> bool:
            return not (await cloud.vm(vm)).trouble

        assert await cloud.world.until(content, 60)

    played(story)


def test_an_owners_start_that_fails_does_not_end_its_being_tried() -> None:
    """It was to be kept running before its owner lost patience."""

    async def story(cloud: Cloud) -> None:
        vm = await cloud.deploy(cloud.kept)
        home = await cloud.home(vm)
        others = [name for name in HOSTS if name != home]
        change = cloud.world.store.change()
        for name in others:
            change.update(Host, cloud.power.host(name), enabled=False)
        await change.commit()
        await cloud.power.cut(home)

        async def told() -> bool:
            return "is disabled" in (await cloud.vm(vm)).trouble

        assert await cloud.world.until(told, 120)
        start = await cloud.ask("startVirtualMachine", id=vm)
        assert not await cloud.ended(start["jobid"])
        await asyncio.sleep(60)
        change = cloud.world.store.change()
        change.update(Host, cloud.power.host(others[0]), enabled=True)
        await change.commit()
        assert await cloud.runs_elsewhere(vm, home)
        assert (await cloud.vm(vm)).want is Want.RUNNING

    played(story)


def test_its_owner_may_stop_a_machine_that_is_tried_again_and_again() -> None:
    async def story(cloud: Cloud) -> None:
        vm = await cloud.deploy(cloud.kept)
        home = await cloud.home(vm)
        change = cloud.world.store.change()
        for name in HOSTS:
            change.update(Host, cloud.power.host(name), enabled=False)
        await change.commit()
        await cloud.power.cut(home)

        async def told() -> bool:
            return bool((await cloud.vm(vm)).trouble)

        assert await cloud.world.until(told, 120)
        stop = await cloud.ask("stopVirtualMachine", id=vm)
        assert await cloud.ended(stop["jobid"])
        change = cloud.world.store.change()
        for name in HOSTS:
            change.update(Host, cloud.power.host(name), enabled=True)
        await change.commit()
        await asyncio.sleep(120)
        assert cloud.on(vm) == []
        assert (await cloud.vm(vm)).want is Want.STOPPED

    played(story)


# -- it only seems to be dead ----------------------------------------------------------------------


def test_when_only_csnode_dies_on_a_host_its_machines_run_on() -> None:
    async def story(cloud: Cloud) -> None:
        vm = await cloud.deploy(cloud.kept)
        home = await cloud.home(vm)
        await cloud.world.crash(home)
        assert await cloud.seen(home, Seen.ALERT)
        await asyncio.sleep(300)
        host = await cloud.host(home)
        assert (host.seen, host.fenced) == (Seen.ALERT, 0.0)
        assert "its machines run on" in host.why
        assert cloud.on(vm) == [home]
        cloud.world.start(home)
        assert await cloud.seen(home, Seen.UP)
        assert (await cloud.host(home)).why == ""
        await cloud.at_peace()

    played(story)


def test_a_host_that_falls_silent_again_is_told_of_again() -> None:
    async def story(cloud: Cloud) -> None:
        async def silent() -> Alert:
            await asyncio.sleep(5)  # it is raised after the host is told of
            [alert] = await cloud.world.store.find(Alert)
            return alert

        await cloud.world.crash("host-1")
        assert await cloud.seen("host-1", Seen.ALERT)
        first = await silent()
        assert (await cloud.world.ask("api-1", "archiveAlerts", {"ids": first.id}))[0] == 200
        cloud.world.start("host-1")
        assert await cloud.seen("host-1", Seen.UP)
        await cloud.world.crash("host-1")
        assert await cloud.seen("host-1", Seen.ALERT)
        again = await silent()
        assert (again.id, again.count, again.archived) == (first.id, 2, False)
        cloud.world.start("host-1")

    played(story)


def test_a_live_host_on_which_no_csnode_is_left_answers_witnesses() -> None:
    async def story(cloud: Cloud) -> None:
        vm = await cloud.deploy(cloud.kept)
        home = await cloud.home(vm)
        await cloud.world.crash(home)
        await cloud.world.crash(f"{home}.keeper")
        await asyncio.sleep(120)
        host = await cloud.host(home)
        assert (host.seen, host.fenced) == (Seen.ALERT, 0.0)
        assert "answers the monitor" in host.why
        assert cloud.on(vm) == [home]

    played(story)


def test_a_host_that_is_cut_off_is_switched_off_before_its_machines_start_elsewhere() -> None:
    async def story(cloud: Cloud) -> None:
        vm = await cloud.deploy(cloud.kept)
        home = await cloud.home(vm)
        cloud.cut_off(home)
        assert cloud.on(vm) == [home]
        assert await cloud.runs_elsewhere(vm, home)
        assert not cloud.power.switch(home).on
        cloud.world.part()
        await cloud.power.restore(home)
        assert await cloud.seen(home, Seen.UP, 120)
        assert (await cloud.host(home)).fenced == 0.0
        await cloud.at_peace()

    played(story)


async def fence(cloud: Cloud, host: str) -> str:
    """As an orchestrator asks for it."""
    fabric = cloud.world.role("orc-1", "orchestrator").bus.ask(Fabric)
    asked = partial(fabric.fence, HostId(cloud.power.host(host)))
    return await cloud.world.inside("orc-1", asked, 60)


def test_a_question_to_switch_off_that_comes_late_finds_the_host_up_and_leaves_it() -> None:
    async def story(cloud: Cloud) -> None:
        vm = await cloud.deploy(cloud.kept)
        home = await cloud.home(vm)
        with pytest.raises(Conflict, match=f"host {home} is Up: it is not switched off"):
            await fence(cloud, home)
        assert cloud.on(vm) == [home]

        await cloud.power.cut(home)
        assert await cloud.runs_elsewhere(vm, home)
        proof = (await cloud.host(home)).fence_proof
        await cloud.power.restore(home)
        assert await fence(cloud, home) == proof
        assert await cloud.seen(home, Seen.UP)

    played(story)


def test_a_host_that_is_taken_back_already_is_not_taken_back_again() -> None:
    async def story(cloud: Cloud) -> None:
        vm = await cloud.deploy(cloud.kept)
        home = await cloud.home(vm)
        change = cloud.world.store.change()
        job = change.order(ReturnHost(host=HostId(cloud.power.host(home))))
        await change.commit()
        assert await cloud.ended(job.id)
        assert cloud.on(vm) == [home]
        assert not [text for text in await alerts(cloud) if "is back" in text]

    played(story)


def test_without_proof_nothing_starts_elsewhere_and_an_alert_says_so() -> None:
    async def story(cloud: Cloud) -> None:
        vm = await cloud.deploy(cloud.kept)
        home = await cloud.home(vm)
        cloud.power.switch(home).answers = False
        cloud.cut_off(home)
        assert await cloud.seen(home, Seen.DOWN)
        await asyncio.sleep(300)
        assert cloud.on(vm) == [home]
        assert (await cloud.vm(vm)).maybe_on == ((await cloud.host(home)).id,)
        said = [text for text in await alerts(cloud) if "nobody can prove it" in text]
        assert len(said) == 1
        assert "does not answer" in said[0]
        cloud.world.part()
        assert await cloud.seen(home, Seen.UP)
        await asyncio.sleep(60)
        assert cloud.on(vm) == [home]
        await cloud.at_peace()

    played(story)


def test_an_alert_says_so_at_the_first_try_that_fails() -> None:
    async def story(cloud: Cloud) -> None:
        vm = await cloud.deploy(cloud.kept)
        home = await cloud.home(vm)
        cloud.power.switch(home).answers = False
        cloud.cut_off(home)

        async def told() -> bool:
            return any("nobody can prove it" in text for text in await alerts(cloud))

        assert await cloud.world.until(told, 60, 0.05)
        jobs = [job for job in await cloud.world.store.find(Job) if job.verb == "fence_host"]
        assert [job.open for job in jobs] == [True]

    played(story)


def test_a_fencer_that_answers_again_ends_the_wait() -> None:
    async def story(cloud: Cloud) -> None:
        vm = await cloud.deploy(cloud.kept)
        home = await cloud.home(vm)
        cloud.power.switch(home).answers = False
        cloud.cut_off(home)
        assert await cloud.seen(home, Seen.DOWN)
        await asyncio.sleep(60)
        assert cloud.on(vm) == [home]
        cloud.power.switch(home).answers = True
        assert await cloud.runs_elsewhere(vm, home)

    played(story)


def test_a_monitor_that_is_cut_off_has_nobody_fenced() -> None:
    async def story(cloud: Cloud) -> None:
        vm = await cloud.deploy(cloud.kept)
        for watch in ("watch-1", "watch-2"):
            cloud.cut_off(watch)
            await asyncio.sleep(120)
            cloud.world.part()
            await asyncio.sleep(30)
        hosts = [await cloud.host(name) for name in HOSTS]
        assert [host.fenced for host in hosts] == [0.0, 0.0, 0.0]
        assert [host.seen for host in hosts] == [Seen.UP] * 3
        assert all(cloud.power.switch(name).on for name in HOSTS)
        assert len(cloud.on(vm)) == 1

    played(story)


def test_a_cut_off_minority_of_monitor_and_data_has_nobody_fenced() -> None:
    async def story(cloud: Cloud) -> None:
        vm = await cloud.deploy(cloud.kept)
        cloud.cut_off("watch-1", "watch-2", "data", "orc-1")
        await asyncio.sleep(120)
        assert all(cloud.power.switch(name).on for name in HOSTS)
        cloud.world.part()
        await asyncio.sleep(60)
        assert all(cloud.power.switch(name).on for name in HOSTS)
        assert len(cloud.on(vm)) == 1
        await cloud.at_peace()

    played(story)


def test_the_other_monitor_takes_over_when_one_dies_with_a_host() -> None:
    async def story(cloud: Cloud) -> None:
        vm = await cloud.deploy(cloud.kept)
        home = await cloud.home(vm)
        await cloud.world.crash("watch-1")
        await cloud.power.cut(home)
        assert await cloud.runs_elsewhere(vm, home)

    played(story)


def test_a_host_that_comes_and_goes_never_runs_a_machine_twice() -> None:
    async def story(cloud: Cloud) -> None:
        vm = await cloud.deploy(cloud.kept)
        home = await cloud.home(vm)
        for seconds in (2, 4, 5, 6, 7, 9, 15):
            cloud.cut_off(home)
            await asyncio.sleep(seconds)
            cloud.world.part()
            await asyncio.sleep(seconds)
            if not cloud.power.switch(home).on:
                await cloud.power.restore(home)

        async def running() -> bool:
            return len(cloud.on(vm)) == 1 and [await cloud.home(vm)] == cloud.on(vm)

        assert await cloud.world.until(running, 300)
        await cloud.at_peace()

    played(story)


# -- an operator's word ----------------------------------------------------------------------------


def test_an_operators_word_is_proof_and_what_still_runs_there_goes_when_it_returns() -> None:
    async def story(cloud: Cloud) -> None:
        vm = await cloud.deploy(cloud.kept)
        home = await cloud.home(vm)
        await cloud.world.crash(home)
        await cloud.world.crash(f"{home}.keeper")
        assert await cloud.seen(home, Seen.ALERT)
        cloud.world.outside(Hypervisor, cloud.power.host(home)).lose_power()  # as he says
        asked = await cloud.ask("declareHostAsDegraded", id=cloud.power.host(home))
        assert await cloud.ended(asked["jobid"])
        assert (await cloud.first("listHosts", name=home))["resourcestate"] == "Degraded"
        assert await cloud.runs_elsewhere(vm, home)
        cloud.world.start(home)
        cloud.world.start(f"{home}.keeper")
        assert await cloud.seen(home, Seen.UP, 120)
        assert vm not in cloud.world.outside(Hypervisor, cloud.power.host(home)).machines
        again = await cloud.ask("cancelHostAsDegraded", id=cloud.power.host(home))
        assert await cloud.ended(again["jobid"])
        assert (await cloud.first("listHosts", name=home))["resourcestate"] == "Enabled"
        await cloud.at_peace()

    played(story)


def test_a_host_that_is_up_cannot_be_declared_degraded() -> None:
    async def story(cloud: Cloud) -> None:
        status, answer = await cloud.world.ask(
            "api-1", "declareHostAsDegraded", {"id": cloud.power.host("host-1")}
        )
        assert status == 431
        assert "is Up" in answer["errortext"]

    played(story)
