"""What machines count for in their account's tally, as the api, the orchestrator and verify say."""

from __future__ import annotations

from typing import Any

from msgspec.structs import replace

from csnode.model.footprint import COUNTED, footprint, footprints, limits_of, uncounted
from csnode.model.identity import Account
from csnode.model.network import Network
from csnode.model.template import Template
from csnode.model.vm import Vm
from csnode.model.volume import Volume
from csnode.types import (
    GIB,
    AccountId,
    DomainId,
    NetworkOfferingId,
    OfferingId,
    TemplateId,
    UserId,
    VmId,
    ZoneId,
)

ALICE, BOB = AccountId("alice"), AccountId("bob")
DOMAIN, ZONE = DomainId("d"), ZoneId("z")


def machine(name: str, of: AccountId) -> Vm:
    """Two CPUs and 512 MiB."""
    return Vm(
        id=name, name=name, account=of, domain=DOMAIN, user=UserId("u"), zone=ZONE,
        offering=OfferingId("o"), template=TemplateId("t"), cpus=2, memory_mib=512,
    )  # fmt: skip


def disk(name: str, of: AccountId, vm: str | None, size: int) -> Volume:
    at = VmId(vm) if vm else None
    return Volume(id=name, name=name, account=of, domain=DOMAIN, zone=ZONE, vm=at, size=size)


def test_a_disk_counts_for_each_gigabyte_that_it_begins() -> None:
    vm = machine("a", ALICE)
    assert footprint(vm, (GIB, GIB + 1, 1))["primary_storage"] == 4
    assert tuple(footprint(vm, ())) == COUNTED


def test_only_limits_of_0_and_more_hold() -> None:
    limits = {"cpu": -1, "memory": 512, "user_vm": 0}
    account = Account(id=ALICE, name="alice", domain=DOMAIN, limits=limits)
    assert limits_of(account) == {"memory": 512, "user_vm": 0}
    assert [*limits_of(account, COUNTED)] == ["user_vm", "memory"]
    assert limits_of(account, ("volume", "cpu")) == {}


def test_networks_addresses_and_templates_that_stay_are_shown() -> None:
    of: Any = {"account": ALICE, "domain": DOMAIN}
    plain = Network(
        id="n", name="n", zone=ZONE, offering=NetworkOfferingId("o"), cidr="", gateway="", **of
    )
    networks = [plain, replace(plain, public_address="198.51.100.9")]
    templates = [Template(id=id, name=id, gone=id == "u", **of) for id in ("t", "u", "v")]
    assert uncounted(networks, templates) == {"network": 2, "public_ip": 1, "template": 2}


def test_an_account_counts_for_its_machines_and_their_disks() -> None:
    vms = [machine("a", ALICE), machine("b", ALICE), machine("c", BOB)]
    disks = [disk("1", ALICE, "a", GIB), disk("2", ALICE, "a", 5 * GIB), disk("3", BOB, None, GIB)]
    assert footprints(vms, disks) == {
        ALICE: {"user_vm": 2, "cpu": 4, "memory": 1024, "volume": 2, "primary_storage": 6},
        BOB: {"user_vm": 1, "cpu": 2, "memory": 512, "volume": 0, "primary_storage": 0},
    }
