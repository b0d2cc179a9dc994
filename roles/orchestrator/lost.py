"""What a host that is proven off leaves behind, and what is to be ordered about it."""

from __future__ import annotations

from csnode.data.change import Change
from csnode.data.view import View
from csnode.model.host import Host
from csnode.model.job import Job, JobState
from csnode.model.network import Network, Nic
from csnode.model.orders import ImplementNetwork, Order, ReleaseVm
from csnode.model.vm import Vm
from csnode.types import NetworkId, VmId

AGAIN_S, AGAIN_MAX_S = 5.0, 60.0


def is_busy(view: View, id: str) -> bool:
    """Tell whether a job is at work on it or is to be, or a stuck one keeps it for an operator."""
    return bool(view.by(Job, "holds", id))


def is_ordered(view: View, id: str, kind: type[Order]) -> bool:
    """Tell whether an order of that kind about the object has not ended."""
    return any(job.open and job.verb == kind.verb() for job in view.by(Job, "holds", id))


def is_lost(view: View, vm: Vm) -> bool:
    """Tell whether the machine holds on to a host that is proven off, or may, and to no other."""
    if vm.host is not None:
        return _is_off(view, vm.host)
    return any(_is_off(view, host) for host in vm.maybe_on)


def needs_router(view: View, network: Network, off: str = "") -> bool:
    """Tell whether machines run in the network on hosts other than the one that is off.

    One that a job is at work on is that job's business.
    """
    if network.gone:
        return False
    vms = (view.maybe(Vm, nic.vm) for nic in view.by(Nic, "network", network.id))
    hosts = {vm.host for vm in vms if vm is not None and vm.host and not is_busy(view, vm.id)}
    return any(host != off and not _is_off(view, host) for host in hosts)


def order_router(view: View, change: Change, network: Network) -> None:
    """Order the network's router again, on a host that is up."""
    if not is_ordered(view, network.id, ImplementNetwork):
        change.order(ImplementNetwork(network=NetworkId(network.id)), account=network.account)


def order_release(view: View, change: Change, vm: Vm) -> None:
    """Order the machine to let go of hosts that are off, after whatever is at work on it now."""
    if not is_ordered(view, vm.id, ReleaseVm):
        change.update(Vm, vm.id, revision=vm.revision)  # no column: it holds on as it was seen to
        change.order(ReleaseVm(vm=VmId(vm.id)), account=vm.account)


def due_again(view: View, id: str, kind: type[Order]) -> float:
    """Return when that may be ordered again for the object: later after each failure."""
    starts = [j for j in view.by(Job, "object_id", id) if j.verb == kind.verb() and j.ended]
    failures, last = 0, 0.0
    for job in sorted(starts, key=lambda j: (j.ended, j.id), reverse=True):
        if job.state is JobState.DONE:
            break
        failures, last = failures + 1, max(last, job.ended)
    if not failures:
        return 0.0
    return last + min(AGAIN_S * 2.0 ** min(failures - 1, 8), AGAIN_MAX_S)


def _is_off(view: View, host: str) -> bool:
    row = view.maybe(Host, host)
    return row is not None and bool(row.fenced)
