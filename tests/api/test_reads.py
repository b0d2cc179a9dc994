"""An answer that is kept says what one made just now would say, whatever rows changed meanwhile."""

from __future__ import annotations

from typing import Any

from csnode.model.offering import DiskOffering
from csnode.model.volume import Volume
from tests.api import seeds
from tests.api.conftest import ADMIN, Desk

NET = seeds.uuid(500)
FIRST = seeds.uuid(1_000_001)


async def test_a_machine_shows_the_new_name_of_its_disk_offering(desk: Desk) -> None:
    disk: Any = Volume(
        id=seeds.uuid(901), name="data", account=seeds.ALICE, domain=seeds.ACME, zone=seeds.ZONE,
        vm=FIRST, device=1, type="DATADISK", size=1, disk_offering=seeds.DISK,
    )  # fmt: skip
    await desk.plant([*seeds.network(NET), *seeds.machine(1, NET), disk])

    async def shown() -> Any:
        answer = await desk.ask("listVirtualMachines", ADMIN, id=FIRST)
        return answer["virtualmachine"][0]["diskofferingname"]

    assert await shown() == "Five"
    change = desk.store.change()
    change.update(DiskOffering, seeds.DISK, name="Fifty")
    await change.commit()
    assert await shown() == "Fifty"
