"""The simulated hypervisor: a host in memory, with the delays and failures it is told to have.

The host itself (SimMachines) stands outside the driver, as a real one does: a driver that is
left and entered again, or a role that is restarted, finds its machines as they are, and what was
asked of the host before is done all the same.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import AsyncIterator, Callable
from types import TracebackType
from typing import Annotated, ClassVar, Literal, Self, TypeVar

from msgspec import Meta

from csnode import uuids
from csnode.drivers.acts import Acts
from csnode.drivers.driver import Simulated
from csnode.drivers.hypervisor import Hypervisor, Sighting
from csnode.faults import Conflict, Fault, NotFound, Refused, Unavailable
from csnode.model.machine import Domain, FoundDomain, HostFacts, Landing, Move
from csnode.types import Power, Struct, VmId
from roles.compute.drivers.domain_xml import check_shape
from roles.compute.drivers.sightings import Sightings

T = TypeVar("T")
CONSOLE_BYTES = 64 * 1024
Verb = Literal["ensure_running", "ensure_off", "ensure_absent", "reboot", "ensure_moved"]


class SimOptions(Struct, forbid_unknown_fields=True):
    """How large a simulated host is, how slow, and how often it fails."""

    cpus: int = 64
    cpu_mhz: int = 2000
    memory_mib: int = 256 * 1024
    latency_s: float = 0.0  # of each verb that changes something
    move_s: float = 0.0  # how long a machine takes to another host; half to twice of it, by chance
    fail: Annotated[float, Meta(ge=0, le=1)] = 0.0  # the chance that a verb fails
    fail_verbs: tuple[Verb, ...] = ()  # which may; empty: all
    fault: Literal["Refused", "Unavailable"] = "Unavailable"


class SimMachine:
    """One machine of a simulated host."""

    def __init__(self, domain: Domain) -> None:
        self.domain = domain
        self.power = Power.OFF
        self.console = b""

    def boot(self) -> None:
        self.power = Power.ON
        text = f"{self.domain.title}: simulated machine\r\nREADY hostname={self.domain.name}\r\n"
        self.console = (self.console + text.encode())[-CONSOLE_BYTES:]


class SimMachines:
    """A simulated host: its machines, and who is told of their power. Outlives every driver."""

    def __init__(self) -> None:
        self.machines: dict[VmId, SimMachine] = {}
        self.listeners: dict[Callable[[Sighting], None], None] = {}  # in their order
        self.acts = Acts()
        self.leaving: Counter[VmId] = Counter()  # moves away that are under way, or wait for those
        self.cancelled: Counter[VmId] = Counter()  # how many of them are to end here
        self.out_of_reach: set[str] = set()  # pools, as what their disks' paths begin with
        self.failing: set[Verb] = set()  # verbs that are refused for now
        self.hangs = False  # its hypervisor answers nothing for now; machines run on
        self.has_power = True
        self.cuts = 0  # how often it has lost its power

    def start(self, domain: Domain) -> None:
        """Start a machine; a running one is left as it is."""
        machine = self.machines.get(domain.vm)
        if machine is None or machine.power is Power.OFF:
            self._check_disks(domain)
            machine = self.machines.setdefault(domain.vm, SimMachine(domain))
            machine.domain = domain
            machine.boot()
            self._tell(domain.vm, Power.ON)

    def _check_disks(self, domain: Domain) -> None:
        lost = tuple(self.out_of_reach)
        if lost and any(disk.path.startswith(lost) for disk in domain.disks):
            raise Unavailable(f"disks of machine {domain.vm} cannot be opened")

    def halt(self, vm: VmId) -> None:
        """Turn the machine off: it went off by itself, or it was made to."""
        machine = self.machines[vm]
        if machine.power is Power.ON:
            machine.power = Power.OFF
            self._tell(vm, Power.OFF)

    def forget(self, vm: VmId) -> None:
        """Forget the machine: nothing of it is left."""
        if self.machines.pop(vm, None):
            self._tell(vm, Power.ABSENT)

    def is_cancelled(self, vm: VmId) -> bool:
        """Tell whether the move that comes to its end now was cancelled."""
        cancelled = self.cancelled[vm] > 0
        for counter in (self.leaving, self.cancelled):
            counter[vm] = max(counter[vm] - 1, 0)
        return cancelled

    def send(self, move: Move, there: SimMachines, cuts: int, cancelled: bool) -> Power:
        """Send the machine: it runs there from now on, and nothing of it is here.

        It stays if the power there has been cut since the move began: after so many cuts.
        """
        vm = move.domain.vm
        machine = self.machines.get(vm)
        if machine is None or machine.power is not Power.ON:
            return machine.power if machine else Power.ABSENT
        if cancelled:
            raise Conflict(f"the move of machine {vm} was cancelled")
        if not there.has_power or there.cuts != cuts:
            raise Refused(f"machine {vm} stays: host {move.host} is gone, and its copy with it")
        machine.domain = move.domain
        there.machines[vm] = machine
        there._tell(vm, Power.ON)
        self.forget(vm)
        return Power.ABSENT

    def lose_power(self) -> None:
        """Turn all machines off, and tell nobody. The host stays off until it boots."""
        self.has_power = False
        self.cuts += 1
        self.leaving.clear()
        self.cancelled.clear()
        for machine in self.machines.values():
            machine.power = Power.OFF

    def boot(self) -> None:
        """Give the host power again; its machines stay off."""
        self.has_power = True

    def _tell(self, vm: VmId, power: Power) -> None:
        for listener in tuple(self.listeners):
            listener(Sighting(vm=vm, power=power))


_outside: dict[str, SimMachines] = {}


def outside(host: str) -> SimMachines:
    """Return the simulated host of that id, as it stands; tests look at it, and meddle with it."""
    return _outside.setdefault(host, SimMachines())


def forget_all() -> None:
    """Make new hardware: every simulated host is gone, except for drivers that are in it still."""
    _outside.clear()


class SimHypervisor(Hypervisor, Simulated):
    """Drives the simulated host whose id is its seat's."""

    options_type: ClassVar[type[Struct]] = SimOptions
    options: SimOptions

    async def __aenter__(self) -> Self:
        self._sightings = Sightings()
        self._host = outside(self.seat.id)
        self._host.boot()  # or nobody could drive it
        self._host.listeners[self._sightings.tell] = None
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._host.listeners.pop(self._sightings.tell, None)
        self._sightings.end()

    @classmethod
    def forget_outside(cls) -> None:
        forget_all()

    async def describe(self) -> HostFacts:
        self._answer_perhaps()
        return HostFacts(
            name=self.seat.name,
            address=self.seat.address,
            hypervisor="Simulator",
            cpus=self.options.cpus,
            cpu_mhz=self.options.cpu_mhz,
            memory_mib=self.options.memory_mib,
            version="sim",
        )

    async def ensure_running(self, domain: Domain) -> Power:
        check_shape(domain)

        def act() -> Power:
            self._host.start(domain)
            return Power.ON

        return await self._carry_out("ensure_running", domain.vm, act)

    async def ensure_off(self, vm: VmId, forced: bool) -> Power:  # noqa: ARG002 (same either way)
        """Shut a simulated guest down, as soon as it is asked."""

        def act() -> Power:
            if vm not in self._host.machines:
                return Power.ABSENT
            self._host.halt(vm)
            return Power.OFF

        return await self._carry_out("ensure_off", vm, act)

    async def ensure_absent(self, vm: VmId) -> None:
        def act() -> None:
            if vm in self._host.machines:
                self._host.halt(vm)
                self._host.forget(vm)

        await self._carry_out("ensure_absent", vm, act)

    async def reboot(self, vm: VmId, forced: bool) -> Power:  # noqa: ARG002 (same either way)
        def act() -> Power:
            machine = self._host.machines.get(vm)
            if machine is None or machine.power is not Power.ON:
                raise Refused(f"machine {vm} does not run on {self.seat.name}, so it cannot reboot")
            machine.boot()
            return Power.ON

        return await self._carry_out("reboot", vm, act)

    async def ensure_expected(self, vm: VmId) -> Landing:
        return Landing(console=f"sim://{self.seat.name}/{vm}.log")

    async def ensure_moved(self, move: Move) -> Power:
        vm = move.domain.vm
        if vm not in self._host.machines:
            return Power.ABSENT
        move_s = self.options.move_s
        seconds = move_s * 2 ** uuids.source.uniform(-1, 1) if move_s else 0.0
        there = outside(move.host)
        cuts = there.cuts

        def act() -> Power:
            cancelled = self._host.is_cancelled(vm)
            self._fail_perhaps("ensure_moved")
            return self._host.send(move, there, cuts, cancelled)

        self._host.leaving[vm] += 1
        return await self._host.acts.carry_out(vm, self.options.latency_s + seconds, act)

    async def cancel_move(self, vm: VmId, stays: bool) -> Power:  # noqa: ARG002 (it never breaks)
        """Cancel the move: it takes as long as ever, and the machine stays."""
        self._host.cancelled[vm] = self._host.leaving[vm]
        return await self.ensure_arrived(vm)

    async def ensure_arrived(self, vm: VmId) -> Power:
        def look() -> Power:
            machine = self._host.machines.get(vm)
            return machine.power if machine else Power.ABSENT

        return await self._host.acts.carry_out(vm, 0.0, look)

    async def survey(self) -> dict[VmId, Power]:
        return {vm: machine.power for vm, machine in self._host.machines.items()}

    async def inspect(self) -> tuple[FoundDomain, ...]:
        return tuple(
            FoundDomain(
                vm=vm,
                power=machine.power,
                disks=tuple(d.path for d in sorted(machine.domain.disks, key=lambda d: d.device)),
                macs=tuple(plug.mac.lower() for plug in machine.domain.plugs),
            )
            for vm, machine in sorted(self._host.machines.items())
        )

    def watch(self) -> AsyncIterator[Sighting]:
        return self._sightings.watch()

    async def console(self, vm: VmId) -> bytes:
        machine = self._host.machines.get(vm)
        if machine is None:
            raise NotFound(f"no machine {vm} on {self.seat.name}")
        return machine.console

    async def _carry_out(self, verb: Verb, vm: VmId, act: Callable[[], T]) -> T:
        """Ask the host for it: it takes its time, and fails if that has come."""

        def happen() -> T:
            self._fail_perhaps(verb)
            return act()

        return await self._host.acts.carry_out(vm, self.options.latency_s, happen)

    def _answer_perhaps(self) -> None:
        if self._host.hangs:
            raise Unavailable(f"the hypervisor on {self.seat.name} does not answer")

    def _fail_perhaps(self, verb: Verb) -> None:
        self._answer_perhaps()
        if verb in self._host.failing:
            raise Refused(f"simulated host {self.seat.name} refuses {verb} for now")
        options = self.options
        may_fail = not options.fail_verbs or verb in options.fail_verbs
        if may_fail and options.fail and uuids.source.random() < options.fail:
            fault: type[Fault] = Refused if options.fault == "Refused" else Unavailable
            raise fault(f"simulated host {self.seat.name} failed at {verb}")
