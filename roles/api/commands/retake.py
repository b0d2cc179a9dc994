"""What startVirtualMachine takes again for a machine that never ran and gave back what it took."""

from __future__ import annotations

from csnode.api.call import Call
from csnode.faults import Invalid
from csnode.model.footprint import footprint
from csnode.model.identity import Account
from csnode.model.ids import guest_addresses, in_network
from csnode.model.network import Network, Nic
from csnode.model.vm import Vm
from csnode.model.volume import Volume
from roles.api.commands.deploy import address_of, count_within


def take_again(call: Call, vm: Vm) -> None:
    """Add to the change what a deploy takes: a place within the limits, name, MACs and addresses.

    Raises Full (535) beyond a limit. Raises Invalid if another machine has the name, or what the
    owner asked for, by now. Nothing is committed then.
    """
    account = call.view.get(Account, vm.account)
    disks = [volume.size for volume in call.view.by(Volume, "vm", vm.id)]
    count_within(call, account, footprint(vm, disks))
    call.change.update(Vm, vm.id, given_back=False)
    for nic in call.view.by(Nic, "vm", vm.id):
        _take_card(call, vm, nic, call.view.get(Network, nic.network))


def _take_card(call: Call, vm: Vm, nic: Nic, network: Network) -> None:
    named, carded = in_network(network.id, vm.name), in_network(network.id, nic.mac)
    if _others(call, vm, "named", named):
        raise Invalid(
            f"The vm with hostName {vm.name} already exists in the network {network.name}. "
            "Give this one another name (updateVirtualMachine), or destroy the other"
        )
    if _others(call, vm, "carded", carded):
        raise Invalid(
            f"Mac address {nic.mac} is in use in network {network.name} by now. "
            "Destroy the machine that has it, or deploy this one anew"
        )
    call.change.update(Nic, nic.id, named=named, carded=carded)
    wish = _wished(call, nic, network)
    call.change.take(guest_addresses(network.id), nic.id, (nic, "address"), wish)


def _others(call: Call, vm: Vm, column: str, value: str) -> bool:
    return any(nic.vm != vm.id for nic in call.view.by(Nic, column, value))


def _wished(call: Call, nic: Nic, network: Network) -> int | None:
    """Return the address it had, or None for the next. Raises Invalid if no other will do."""
    try:
        return address_of(call, network, nic.last_address)
    except Invalid as fault:
        if not nic.fixed:
            return None
        raise Invalid(
            f"{fault.message} by now, and this machine was asked to have it. Destroy the machine "
            "that has it, or deploy this one anew with another address"
        ) from fault
