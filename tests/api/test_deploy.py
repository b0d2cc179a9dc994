"""What deployVirtualMachine commits, and what it refuses."""

from __future__ import annotations

import base64
from typing import Any

import pytest
from msgspec.structs import replace

from csnode.model.event import UserEvent
from csnode.model.identity import Account
from csnode.model.job import Job
from csnode.model.network import Network, Nic
from csnode.model.stock import Range, Taken, Tally
from csnode.model.template import Template
from csnode.model.vm import Vm, Want
from csnode.model.volume import Volume
from tests.api import seeds
from tests.api.conftest import ADMIN, ALICE, BOB, Desk

NET, OTHER_NET = seeds.uuid(500), seeds.uuid(501)
SMALL = {
    "zoneid": seeds.ZONE,
    "serviceofferingid": seeds.SMALL,
    "templateid": seeds.IMAGE,
}
GIB = 2**30


async def deploy(desk: Desk, by: Any = ALICE, **params: str) -> tuple[Vm, Job]:
    answer = await desk.ask("deployVirtualMachine", by, **SMALL | params)
    assert set(answer) == {"id", "jobid"}
    store = desk.store
    return await store.get(Vm, answer["id"]), await store.get(Job, answer["jobid"])


async def test_everything_is_one_commit(desk: Desk) -> None:
    await desk.plant(seeds.network(NET))
    vm, job = await deploy(desk, networkids=NET, name="web", displayname="Web 1", group="shop")
    assert (vm.name, vm.display_name, vm.group) == ("web", "Web 1", "shop")
    assert (vm.account, vm.domain, vm.user) == (seeds.ALICE, seeds.ACME, ALICE.user)
    assert (vm.want, vm.number) == (Want.RUNNING, 1)
    assert (vm.cpus, vm.cpu_mhz, vm.memory_mib, vm.os_type) == (1, 500, 512, seeds.DEBIAN)
    (nic,) = await desk.store.find(Nic, vm=vm.id)
    assert (nic.network, nic.address, nic.default, nic.index) == (NET, "10.1.1.2", True, 0)
    assert nic.mac.startswith("02:")
    (root,) = await desk.store.find(Volume, vm=vm.id)
    assert (root.type, root.size, root.name) == ("ROOT", 2 * GIB, f"ROOT-{vm.id[:8]}")
    assert (job.verb, job.command, job.order) == (
        "deploy_vm", "deployVirtualMachine", {
            "vm": vm.id, "start": True, "host": None, "cluster": None, "pod": None})  # fmt: skip
    assert (job.object_kind, job.object_id, job.account) == ("vm", vm.id, seeds.ALICE)
    tally = await desk.store.get(Tally, f"account:{seeds.ALICE}")
    assert tally.used == {"user_vm": 1, "cpu": 1, "memory": 512, "volume": 1, "primary_storage": 2}
    (event,) = await desk.store.find(UserEvent, account=seeds.ALICE)
    assert (event.type, event.state, event.job) == ("VM.CREATE", "Scheduled", job.id)
    assert {t.owner for t in await desk.store.find(Taken)} == {vm.id, nic.id}


async def test_it_is_seen_at_once(desk: Desk) -> None:
    await desk.plant(seeds.network(NET))
    vm, job = await deploy(desk, networkids=NET)
    (row,) = (await desk.ask("listVirtualMachines", ALICE))["virtualmachine"]
    assert (row["id"], row["state"], row["jobid"], row["jobstatus"]) == (
        vm.id, "Starting", job.id, 0)  # fmt: skip
    assert row["name"] == f"VM-{vm.id}" == row["displayname"]
    (volume,) = (await desk.ask("listVolumes", ALICE))["volume"]
    assert (volume["state"], volume["virtualmachineid"]) == ("Creating", vm.id)


async def test_a_machine_that_is_not_to_start_is_stopped(desk: Desk) -> None:
    vm, job = await deploy(desk, startvm="false")
    assert (vm.want, job.order["start"]) == (Want.STOPPED, False)
    (row,) = (await desk.ask("listVirtualMachines", ALICE))["virtualmachine"]
    assert row["state"] == "Stopped"


async def test_the_first_machine_makes_a_network(desk: Desk) -> None:
    vm, _ = await deploy(desk)
    (network,) = await desk.store.find(Network)
    assert (network.name, network.account, network.cidr) == (
        "alice-network", seeds.ALICE, "10.1.1.0/24")  # fmt: skip
    assert (network.vni, network.public_address) == (1000, "198.51.100.2")
    again, _ = await deploy(desk)
    assert len(await desk.store.find(Network)) == 1
    addresses = [(await desk.store.find(Nic, vm=id))[0].address for id in (vm.id, again.id)]
    assert addresses == ["10.1.1.2", "10.1.1.3"]


async def test_two_networks_must_be_chosen_from(desk: Desk) -> None:
    await desk.plant([*seeds.network(NET), *seeds.network(OTHER_NET, name="back")])
    body = await desk.refused("deployVirtualMachine", ALICE, **SMALL)
    assert body["errortext"].startswith("More than 1 default Isolated networks are found")
    vm, _ = await deploy(desk, networkids=f"{OTHER_NET},{NET}")
    nics = sorted(await desk.store.find(Nic, vm=vm.id), key=lambda n: n.index)
    assert [(n.network, n.default) for n in nics] == [(OTHER_NET, True), (NET, False)]


async def test_an_address_and_a_mac_may_be_wished_for(desk: Desk) -> None:
    await desk.plant(seeds.network(NET))
    vm, _ = await deploy(
        desk,
        **{"iptonetworklist[0].networkid": NET, "iptonetworklist[0].ip": "10.1.1.77",
           "iptonetworklist[0].mac": "02:11:22:33:44:55"},
    )  # fmt: skip
    (nic,) = await desk.store.find(Nic, vm=vm.id)
    assert (nic.address, nic.mac) == ("10.1.1.77", "02:11:22:33:44:55")
    body = await desk.refused(
        "deployVirtualMachine", ALICE, networkids=NET, ipaddress="10.1.1.77", **SMALL
    )
    assert "10.1.1.77 is in use" in body["errortext"]
    second, _ = await deploy(desk, networkids=NET, ipaddress="10.1.1.78")
    (nic,) = await desk.store.find(Nic, vm=second.id)
    assert nic.address == "10.1.1.78"


@pytest.mark.parametrize(
    ("params", "root", "data", "storage"),
    [
        ({}, 2, None, 2),
        ({"rootdisksize": "10"}, 10, None, 10),
        ({"diskofferingid": seeds.DISK}, 2, 5, 7),
        ({"diskofferingid": seeds.CUSTOM_DISK, "size": "3"}, 2, 3, 5),
    ],
)
async def test_disks_are_as_large_as_asked(
    desk: Desk, params: dict[str, str], root: int, data: int | None, storage: int
) -> None:
    vm, _ = await deploy(desk, **params)
    sizes = {v.type: v.size // GIB for v in await desk.store.find(Volume, vm=vm.id)}
    assert sizes == {"ROOT": root} | ({"DATADISK": data} if data else {})
    tally = await desk.store.get(Tally, f"account:{seeds.ALICE}")
    assert tally.used["primary_storage"] == storage


@pytest.mark.parametrize(
    ("params", "code", "text"),
    [
        ({"templateid": seeds.RAW_IMAGE}, 431, "Template coming is not ready to use"),
        ({"templateid": seeds.PRIVATE_IMAGE}, 431, "entity does not exist"),
        ({"templateid": seeds.uuid(999)}, 431, "Invalid parameter templateid value="),
        ({"templateid": ""}, 431, "templateid must be given"),
        ({"serviceofferingid": seeds.ACME_OFFERING}, 431, "entity does not exist"),
        ({"serviceofferingid": seeds.GONE_OFFERING}, 431, "was deleted"),
        ({"serviceofferingid": ""}, 431, "due to missing parameter serviceofferingid"),
        ({"name": "1web"}, 431, "Invalid name."),
        ({"name": "web-"}, 431, "Invalid name."),
        ({"name": "w" * 64}, 431, "Invalid name."),
        ({"networkids": NET}, 431, "Invalid parameter networkids value="),
        ({"keypair": "mine"}, 431, "A key pair with name 'mine' was not found."),
        ({"keypairs": "mine"}, 431, "A key pair with name 'mine' was not found."),
        ({"userdata": "?"}, 431, "User data is not Base64"),
        ({"userdata": "a b/"}, 431, "as a + becomes that is not sent as %2B"),
        ({"userdata": "-+aa"}, 431, "User data is not Base64"),
        ({"userdata": "YQ="}, 431, "User data is not Base64"),
        ({"userdata": "YWFhY"}, 431, "User data is not Base64"),
        ({"userdata": "YR=="}, 431, "has bits too many"),
        ({"userdata": "\u00e9"}, 431, "User data is not Base64"),
        ({"userdata": "a" * (2**20 + 1)}, 431, "Value greater than max allowed length 1048576"),
        ({"rootdisksize": "1"}, 431, "smaller than template size"),
        ({"rootdisksize": "99999999"}, 431, "rootdisksize must be a number from 1 to"),
        ({"diskofferingid": seeds.CUSTOM_DISK}, 431, "size must be a number from 1 to"),
        ({"ipaddress": "10.9.9.9"}, 431, "is not in the network"),
        ({"ipaddress": "ten"}, 431, "is no IPv4 address"),
        ({"ipaddress": "10.1.1.1"}, 431, "is none that machines"),
        ({"macaddress": "01:00:00:00:00:01"}, 431, "is not unicast"),
        ({"macaddress": "00:00:00:00:00:00"}, 431, "stands for none"),
        ({"macaddress": "fe:00:00:00:00:01"}, 431, "kept for the host"),
        ({"macaddress": "02:00-00:00:00:01"}, 431, "is not valid"),
        ({"macaddress": "020000000001"}, 431, "is not valid"),
        ({"name": "data-server"}, 431, "has a meaning of its own"),
        ({"name": "Localhost"}, 431, "has a meaning of its own"),
        ({"hypervisor": "VMware"}, 431, "is for KVM, not VMware"),
        ({"account": "alice", "domainid": seeds.ACME}, 531, "does not have permission"),
        ({"projectid": seeds.uuid(999)}, 431, "Invalid parameter projectid"),
        ({"iptonetworklist[0]ip": "10.1.1.9"}, 430, "Unable to decode parameter"),
    ],
)
async def test_a_refusal_leaves_nothing_behind(
    desk: Desk, params: dict[str, str], code: int, text: str
) -> None:
    await desk.plant(seeds.network(NET))  # alice's
    body = await desk.refused("deployVirtualMachine", BOB, **SMALL | params)
    assert (body["errorcode"], text in body["errortext"]) == (code, True), body["errortext"]
    for kind in (Vm, Nic, Volume, Job, Taken, Tally, UserEvent):
        assert await desk.store.find(kind) == [], kind


async def test_user_data_is_kept_as_standard_base64(desk: Desk) -> None:
    text = bytes(range(250, 256)) * 3
    for encode in (base64.b64encode, base64.urlsafe_b64encode):
        vm, _ = await deploy(desk, userdata=encode(text).decode().rstrip("="))
        assert base64.b64decode(vm.user_data, validate=True) == text


async def test_user_data_in_lines_is_taken(desk: Desk) -> None:
    text = bytes(range(256))
    vm, _ = await deploy(desk, userdata=base64.encodebytes(text).decode())
    assert base64.b64decode(vm.user_data, validate=True) == text
    vm, _ = await deploy(desk, userdata=base64.encodebytes(text).decode().replace("\n", "\r\n"))
    assert base64.b64decode(vm.user_data, validate=True) == text


@pytest.mark.parametrize("mac", ["02:0A:00:00:00:01", "02-0a-00-00-00-01", "2.a.0.0.0.1"])
async def test_a_mac_address_is_taken_in_every_form_of_cloudstacks(desk: Desk, mac: str) -> None:
    vm, _ = await deploy(desk, macaddress=mac)
    (nic,) = await desk.store.find(Nic, vm=vm.id)
    assert nic.mac == "02:0a:00:00:00:01"
    (held,) = [n.network for n in await desk.store.find(Nic, vm=vm.id)]
    body = await desk.refused(
        "deployVirtualMachine", ALICE, networkids=held, macaddress="02:0a:0:0:0:1", **SMALL
    )
    assert "is in use" in body["errortext"]


async def test_a_name_that_dns_cannot_carry_with_its_domain_is_refused(desk: Desk) -> None:
    longest = f"{'a' * 63}.{'b' * 62}.{'c' * 63}"
    network, addresses = seeds.network(NET)
    await desk.plant([replace(network, network_domain=longest), addresses])
    wanted = {"networkids": NET, **SMALL}
    body = await desk.refused("deployVirtualMachine", ALICE, name="w" * 63, **wanted)
    assert "DNS carries 253" in body["errortext"]
    vm, _ = await deploy(desk, networkids=NET, name="w" * 62)
    body = await desk.refused("updateVirtualMachine", ALICE, id=vm.id, name="w" * 63)
    assert "DNS carries 253" in body["errortext"]


async def test_a_mebibyte_of_user_data_is_taken(desk: Desk) -> None:
    vm, _ = await deploy(desk, userdata="a" * 2**20)
    assert len(vm.user_data) == 2**20


async def test_a_limit_is_kept_in_cloudstacks_words(desk: Desk) -> None:
    change = desk.store.change()
    change.update(Account, seeds.ALICE, limits={"user_vm": 1, "cpu": -1})
    await change.commit()
    await deploy(desk)
    body = await desk.refused("deployVirtualMachine", ALICE, **SMALL)
    assert body["errorcode"] == 535
    assert body["errortext"].startswith(
        "Maximum amount of resources of Type = 'user_vm' for Account Name = alice in Domain Id = "
    )
    (account,) = (await desk.ask("listAccounts", ALICE))["account"]
    assert (account["vmlimit"], account["vmtotal"], account["vmavailable"]) == ("1", 1, "0")
    assert account["cpuavailable"] == "Unlimited"


@pytest.mark.parametrize("what", ["user_vm", "cpu", "memory", "volume", "primary_storage"])
async def test_an_account_with_a_limit_of_nothing_has_nothing(desk: Desk, what: str) -> None:
    change = desk.store.change()
    change.update(Account, seeds.ALICE, limits={what: 0})
    await change.commit()
    body = await desk.refused("deployVirtualMachine", ALICE, **SMALL)
    assert (body["errorcode"], f"Type = '{what}'" in body["errortext"]) == (535, True), body
    assert await desk.store.find(Vm) == []


async def test_a_name_is_taken_once_in_a_network(desk: Desk) -> None:
    await desk.plant([*seeds.network(NET), *seeds.network(OTHER_NET, name="back")])
    await deploy(desk, networkids=NET, name="web")
    body = await desk.refused("deployVirtualMachine", ALICE, networkids=NET, name="web", **SMALL)
    assert body["errortext"] == "The vm with hostName web already exists in the network"
    await deploy(desk, networkids=OTHER_NET, name="web")


async def test_an_admin_deploys_for_an_account(desk: Desk) -> None:
    vm, job = await deploy(desk, ADMIN, account="alice", domainid=seeds.ACME)
    assert (vm.account, vm.domain, job.account) == (seeds.ALICE, seeds.ACME, seeds.ADMIN)


async def test_an_admin_may_choose_the_ids(desk: Desk) -> None:
    vm, job = await deploy(desk, ADMIN, customid=seeds.uuid(77), customjobid=seeds.uuid(78))
    assert (vm.id, job.id) == (seeds.uuid(77), seeds.uuid(78))
    body = await desk.refused("deployVirtualMachine", ADMIN, customid=seeds.uuid(77),
                              displayname="another", **SMALL)  # fmt: skip
    assert body["errorcode"] == 536
    vm, _ = await deploy(desk, ALICE, customid=seeds.uuid(79))
    assert vm.id != seeds.uuid(79)


async def test_a_full_network_is_said_to_be(desk: Desk) -> None:
    network, addresses = seeds.network(NET)
    small = Range(id=addresses.id, low=addresses.low, high=addresses.low, form="ipv4")
    await desk.plant([network, small])
    await deploy(desk, networkids=NET)
    body = await desk.refused("deployVirtualMachine", ADMIN, networkids=NET, **SMALL,
                              account="alice", domainid=seeds.ACME)  # fmt: skip
    assert body["errorcode"] == 533
    assert len(await desk.store.find(Vm)) == 1


async def test_an_image_that_goes_takes_no_new_machines(desk: Desk) -> None:
    change = desk.store.change()
    change.update(Template, seeds.IMAGE, gone=True)
    await change.commit()
    body = await desk.refused("deployVirtualMachine", ALICE, **SMALL)
    assert "not ready" in body["errortext"]
