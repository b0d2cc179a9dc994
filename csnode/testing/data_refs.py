"""The rules of references: what names a row finds it there, and it stays while it is named."""

from __future__ import annotations

import random
from typing import Any

import pytest

from csnode.contracts.data import ChangeItem, Delete, Take
from csnode.faults import Conflict, NotFound
from csnode.model.entity import Entity
from csnode.model.host import Host
from csnode.model.network import Network, Nic
from csnode.model.offering import Offering
from csnode.model.place import Cluster, Pod, Zone
from csnode.model.stock import Range
from csnode.model.template import Template
from csnode.model.vm import Vm, Want
from csnode.testing.data_cloud import Cloud, Served, created, outcome, outcomes, updated, vm
from csnode.types import (
    AccountId,
    ClusterId,
    DomainId,
    HostId,
    NetworkId,
    NetworkOfferingId,
    OfferingId,
    PodId,
    TemplateId,
    VmId,
    ZoneId,
)

ROUNDS, AT_ONCE = 20, 12


def network(id: str, **columns: Any) -> Network:
    """Return a network called net-ID."""
    nothing: dict[str, Any] = {
        "account": AccountId(""),
        "domain": DomainId(""),
        "zone": ZoneId(""),
        "offering": NetworkOfferingId(""),
    }
    given = nothing | columns
    return Network(id=id, name=f"net-{id}", cidr="10.1.1.0/24", gateway="10.1.1.1", **given)


def card(id: str, vm: str, network: str) -> Nic:
    """Return a card of that machine in that network."""
    return Nic(id=id, vm=VmId(vm), network=NetworkId(network), mac="02:00:00:00:00:01")


def deleted(kind: type[Entity], id: str) -> Delete:
    """Return the change that takes the row away."""
    return Delete(kind=kind.kind, id=id)


class ReferenceRules(Served):
    """A row names only what stands, and what is named stays."""

    async def test_a_row_is_created_only_while_what_it_names_stands(self, cloud: Cloud) -> None:
        with pytest.raises(NotFound, match="there is no zone z1"):
            await cloud.create(Pod(id="p1", zone=ZoneId("z1"), name="one"))
        assert await cloud.store.find(Pod) == []
        await cloud.create(Zone(id="z1", name="one"))
        await cloud.create(Pod(id="p1", zone=ZoneId("z1"), name="one"))

    async def test_a_column_is_changed_only_to_name_what_stands(self, cloud: Cloud) -> None:
        await cloud.create(vm("v1"), Zone(id="z1", name="one"))
        moved = updated(Vm, "v1", by="orchestrator", host="h1")
        assert await outcome(cloud.commit(moved)) is NotFound
        assert await outcome(cloud.commit(updated(Vm, "v1", zone="z2"))) is NotFound
        await cloud.commit(updated(Vm, "v1", zone="z1"))
        await cloud.commit(updated(Vm, "v1", zone=""))
        await cloud.commit(deleted(Zone, "z1"))

    async def test_a_row_goes_only_while_nothing_names_it(self, cloud: Cloud) -> None:
        await cloud.create(network("n1"), vm("v1"), card("c1", "v1", "n1"))
        needed = r"the network net-n1 \(n1\) is still needed by the nic c1 of the vm v1 \(v1\)"
        with pytest.raises(Conflict, match=needed) as refused:
            await cloud.commit(deleted(Network, "n1"))
        assert (refused.value.code, refused.value.cs) == (431, 4350)
        assert await outcome(cloud.commit(deleted(Vm, "v1"))) is Conflict
        await cloud.commit(deleted(Nic, "c1"))
        await cloud.commit(deleted(Network, "n1"), deleted(Vm, "v1"))

    async def test_the_order_within_a_commit_does_not_matter(self, cloud: Cloud) -> None:
        await cloud.create(card("c1", "v1", "n1"), vm("v1"), network("n1"))
        await cloud.commit(deleted(Network, "n1"), deleted(Vm, "v1"), deleted(Nic, "c1"))
        made_and_gone = (*map(created, (card("c1", "v1", "n1"), vm("v1"))), deleted(Nic, "c1"))
        await cloud.commit(*made_and_gone)  # the network it would have been in is not there
        assert [v.id for v in await cloud.store.find(Vm)] == ["v1"]

    async def test_nothing_new_names_what_is_leaving(self, cloud: Cloud) -> None:
        await cloud.create(network("n1"), vm("v1"))
        await cloud.commit(updated(Network, "n1", gone=True))
        with pytest.raises(Conflict, match=r"the network net-n1 \(n1\) is being deleted"):
            await cloud.create(card("c1", "v1", "n1"))
        await cloud.commit(updated(Network, "n1", gone=False))
        await cloud.create(card("c1", "v1", "n1"))

    async def test_a_row_begins_to_leave_only_while_nothing_but_its_parts_names_it(
        self, cloud: Cloud
    ) -> None:
        await cloud.create(network("n1"), vm("v1"), card("c1", "v1", "n1"))
        assert await outcome(cloud.commit(updated(Network, "n1", gone=True))) is Conflict
        await cloud.commit(updated(Vm, "v1", want=Want.GONE))  # its card goes with it
        assert await outcome(cloud.create(card("c2", "v1", "n1"))) is Conflict
        assert await outcome(cloud.commit(deleted(Vm, "v1"))) is Conflict
        await cloud.commit(deleted(Vm, "v1"), deleted(Nic, "c1"), updated(Network, "n1", gone=True))

    async def test_what_may_leave_while_it_is_used_is_kept_by_who_has_it(
        self, cloud: Cloud
    ) -> None:
        size = Offering(id="o1", name="small", cpus=1, memory_mib=64)
        await cloud.create(size, vm("v1", offering=OfferingId("o1")))
        await cloud.commit(updated(Offering, "o1", removed=True))
        assert await outcome(cloud.create(vm("v2", offering=OfferingId("o1")))) is Conflict
        await cloud.commit(updated(Vm, "v1", name="other"))
        assert await outcome(cloud.commit(deleted(Offering, "o1"))) is Conflict

    async def test_columns_without_an_index_and_lists_of_names_keep_rows_too(
        self, cloud: Cloud
    ) -> None:
        await cloud.create(Zone(id="z1", name="one"), Pod(id="p1", zone=ZoneId("z1"), name="one"))
        await cloud.create(
            Cluster(id="k1", zone=ZoneId("z1"), pod=PodId("p1"), name="one"), vm("v1"), vm("v2")
        )
        within: dict[str, Any] = {"zone": "z1", "pod": PodId("p1"), "cluster": ClusterId("k1")}
        await cloud.create(*(Host(id=id, name=id, **within) for id in ("h1", "h2")))
        maybe = [HostId("h2"), HostId("h1")]
        await cloud.commit(updated(Vm, "v2", by="orchestrator", maybe_on=maybe))
        for kind, id in ((Host, "h1"), (Host, "h2"), (Cluster, "k1"), (Pod, "p1"), (Zone, "z1")):
            assert await outcome(cloud.commit(deleted(kind, id))) is Conflict, id
        away = updated(Vm, "v2", by="orchestrator", maybe_on=["h1"])
        await cloud.commit(away, deleted(Host, "h2"))
        await cloud.commit(updated(Vm, "v2", by="orchestrator", maybe_on=[]))
        await cloud.commit(*(deleted(k, id) for k, id in ((Host, "h1"), (Cluster, "k1"))))
        await cloud.commit(updated(Vm, "v1", zone="z1"), deleted(Pod, "p1"))
        assert await outcome(cloud.commit(deleted(Zone, "z1"))) is Conflict
        await cloud.commit(deleted(Zone, "z1"), deleted(Vm, "v1"))

    async def test_a_row_with_many_parts_goes_with_all_of_them(self, cloud: Cloud) -> None:
        await cloud.create(network("n1"), vm("v1"))
        await cloud.create(*(card(f"c{n:02}", "v1", "n1") for n in range(40)))
        cards = [deleted(Nic, f"c{n:02}") for n in range(40)]
        assert await outcome(cloud.commit(deleted(Vm, "v1"), *cards[1:])) is Conflict
        assert await outcome(cloud.commit(*cards[:-1], deleted(Vm, "v1"))) is Conflict
        await cloud.commit(deleted(Vm, "v1"), *cards)

    async def test_a_range_stays_while_a_value_of_it_is_taken(self, cloud: Cloud) -> None:
        await cloud.create(Range(id="r", low=0, high=9))
        await cloud.commit(Take(range="r", owner="v1"))
        assert await outcome(cloud.commit(deleted(Range, "r"))) is Conflict

    async def test_history_may_name_what_is_gone(self, cloud: Cloud) -> None:
        await cloud.create(vm("v1"))
        await cloud.commit(updated(Vm, "v1", by="orchestrator", last_host="gone"))
        await cloud.commit(updated(Vm, "v1", name="other"))

    @pytest.mark.parametrize("first", ["delete", "use"])
    async def test_of_a_deletion_and_a_use_at_once_the_first_alone_is_accepted(
        self, cloud: Cloud, first: str
    ) -> None:
        for n in range(ROUNDS):
            net, image, machine = f"n{n}", f"t{n}", f"v{n}"
            await cloud.create(network(net), Template(id=image, name=image, **_NOBODYS))
            using: list[ChangeItem] = [
                created(vm(machine, template=TemplateId(image))),
                created(card(f"c{n}", machine, net)),
            ]
            leaving = [updated(Network, net, gone=True), updated(Template, image, gone=True)]
            works = [cloud.commit(*using), *(cloud.commit(item) for item in leaving)]
            told = await outcomes(*(works if first == "use" else works[::-1]))
            expected = [None, Conflict, Conflict] if first == "use" else [None, None, Conflict]
            assert told == expected

    async def test_whatever_is_committed_at_once_every_name_is_of_a_row_that_stands(
        self, cloud: Cloud
    ) -> None:
        chance = random.Random(7)
        nets, machines, cards = ([f"{c}{n}" for n in range(4)] for c in "nvc")

        def one() -> ChangeItem:
            net, machine, nic = (chance.choice(ids) for ids in (nets, machines, cards))
            choices = (
                created(network(net)), created(vm(machine)), created(card(nic, machine, net)),
                created(card(nic, machine, net)), updated(Nic, nic, network=net),
                updated(Network, net, gone=chance.random() < 0.6), deleted(Network, net),
                deleted(Vm, machine), deleted(Nic, nic),
            )  # fmt: skip
            return chance.choice(choices)

        accepted = 0
        for _ in range(60):
            works = [
                cloud.commit(*(one() for _ in range(chance.randint(1, 4)))) for _ in range(AT_ONCE)
            ]
            accepted += (await outcomes(*works)).count(None)
            await self._every_name_stands(cloud)
        assert accepted > 60

    async def _every_name_stands(self, cloud: Cloud) -> None:
        found = {kind: {r.id: r for r in await cloud.store.find(kind)} for kind in (Network, Vm)}
        for nic in await cloud.store.find(Nic):
            assert nic.vm in found[Vm]
            assert nic.network in found[Network]
            net = found[Network][nic.network]
            assert isinstance(net, Network)
            assert not net.gone


_NOBODYS: dict[str, Any] = {"account": AccountId(""), "domain": DomainId("")}
