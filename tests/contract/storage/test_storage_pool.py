"""What the role adds to a driver: turns, shared downloads, fences, and the fact it writes."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator
from pathlib import Path
from typing import Any

import msgspec
import pytest
from msgspec.structs import replace

from csnode.bus.local import LocalBus
from csnode.config import NodeConfig
from csnode.context import acting
from csnode.contracts.data import Commit, Committed, Data, Feed, Mark, Met, Past, Row, Update
from csnode.contracts.storage import Storage
from csnode.data.store import Store
from csnode.directory.alone import AloneDirectory
from csnode.faults import Conflict, Fault, Invalid, NotFound, Refused, Unavailable
from csnode.model.machine import Clone, Image
from csnode.types import PoolId, TemplateId, VolumeId
from csnode.uuids import id_of, new_id
from roles.storage.config import StorageConfig, seats
from roles.storage.drivers.dir import DirStorage
from roles.storage.drivers.sim import outside
from roles.storage.pool import PoolStorage
from roles.storage.role import StorageRole
from tests.contract.storage.source import SIZE, Source, files_of, seat, until


class Notes(Data):
    """A data service that writes down what it is told, or answers with a fault."""

    def __init__(self) -> None:
        self.updates: list[tuple[str, str, dict[str, Any], str]] = []
        self.fault: Fault | None = None

    async def commit(self, commit: Commit) -> Committed:
        for item in commit.changes:
            assert isinstance(item, Update)
            columns = msgspec.json.decode(item.columns, type=dict[str, Any])
            self.updates.append((item.kind, item.id, columns, item.by))
        if self.fault:
            raise self.fault
        return Committed(number=len(self.updates))

    async def meet(self, mark: Mark | None) -> Met:
        return Met(cloud="c", mark=Mark(number=0, at=0.0, proof=b""))

    async def get(self, kind: str, id: str) -> Row:
        raise NotFound(id)

    async def find(
        self, kind: str, where: dict[str, Any], after: str, limit: int
    ) -> tuple[Row, ...]:
        return ()

    async def head(self, kinds: tuple[str, ...]) -> int:
        return 0

    async def heads(self, kinds: tuple[str, ...]) -> tuple[int, ...]:
        return (0,) * len(kinds)

    async def history(self, id: str, trace: str, limit: int) -> tuple[Past, ...]:
        return ()

    async def check(self) -> tuple[str, ...]:
        return ()

    async def feed(self, after: int, kinds: tuple[str, ...], limit: int) -> Feed:
        return Feed(entries=(), upto=0)


@pytest.fixture
def notes() -> Notes:
    return Notes()


@pytest.fixture
def bus(notes: Notes) -> LocalBus:
    bus = LocalBus(AloneDirectory())
    bus.serve(notes)
    return bus


@pytest.fixture
async def served(pool: DirStorage, bus: LocalBus) -> AsyncGenerator[PoolStorage]:
    served = PoolStorage(pool, Store(bus, "storage"))
    yield served
    await served.close()


def clone_of(image: Image) -> Clone:
    return Clone(volume=VolumeId(new_id()), size=SIZE, image=image)


async def test_an_image_asked_for_ten_times_at_once_is_fetched_once(
    served: PoolStorage, source: Source
) -> None:
    image = source.image("slow/good")
    asking = [asyncio.create_task(served.ensure_image(image)) for _ in range(5)]
    cloning = [asyncio.create_task(served.ensure_volume(clone_of(image))) for _ in range(5)]
    await until(lambda: source.asked["/slow/good"] > 0)
    source.go_on.set()
    facts = await asyncio.gather(*asking)
    disks = await asyncio.gather(*cloning)
    assert source.asked["/slow/good"] == 1
    assert len(set(facts)) == 1
    assert len({disk.path for disk in disks}) == 5


async def test_one_volume_asked_for_ten_times_at_once_is_made_once(
    served: PoolStorage, source: Source
) -> None:
    clone = clone_of(source.image("good"))
    disks = await asyncio.gather(*(served.ensure_volume(clone) for _ in range(10)))
    assert len(set(disks)) == 1
    assert (await served.survey()).volumes == (clone.volume,)


async def test_a_failed_download_fails_for_all_and_the_next_one_works(
    served: PoolStorage, source: Source
) -> None:
    image = source.image("broken/good")
    asked = (served.ensure_image(image) for _ in range(3))
    ends = await asyncio.gather(*asked, return_exceptions=True)
    assert [type(end) for end in ends] == [Unavailable] * 3
    await served.ensure_image(replace(image, url=source.url("good")))


async def test_a_download_that_waits_for_its_turn_writes_whom_it_waits_for(
    tmp_path: Path, bus: LocalBus, notes: Notes, source: Source
) -> None:
    options: dict[str, Any] = {"allow_private": True, "downloads_per_account": 1}
    async with DirStorage(options, seat(tmp_path / "pool")) as driver:
        served = PoolStorage(driver, Store(bus, "storage"))
        first, second = source.image("slow/good", account="a"), source.image("good", account="a")
        asking = [asyncio.create_task(served.ensure_image(first))]
        await until(lambda: source.asked["/slow/good"] > 0)
        asking.append(asyncio.create_task(served.ensure_image(second)))

        def said() -> list[str]:
            return [
                u[2]["waits"] for u in notes.updates if u[1] == second.template and "waits" in u[2]
            ]

        await until(lambda: bool(said()))
        assert first.template in said()[0]
        source.go_on.set()
        await asyncio.gather(*asking)
        assert len(said()) == 2
        assert said()[1] == ""
        assert not [u for u in notes.updates if u[1] == first.template and "waits" in u[2]]
        await served.close()


async def test_a_download_that_nobody_waits_for_ends(
    pool: DirStorage, served: PoolStorage, source: Source
) -> None:
    image = source.image("slow/good")
    asking = [asyncio.create_task(served.ensure_image(image)) for _ in range(2)]
    await until(lambda: source.asked["/slow/good"] > 0)
    asking[0].cancel()
    await asyncio.wait(asking[:1])
    assert not asking[1].done()
    asking[1].cancel()
    await asyncio.wait(asking)
    assert files_of(pool) == set()


async def test_deleting_a_template_ends_its_download(
    pool: DirStorage, served: PoolStorage, source: Source
) -> None:
    image = source.image("slow/good")
    cloning = asyncio.create_task(served.ensure_volume(clone_of(image)))
    await until(lambda: source.asked["/slow/good"] > 0)
    await served.ensure_no_image(image.template)
    with pytest.raises(Conflict, match="deleted"):
        await cloning
    assert files_of(pool) == set()


async def test_progress_is_written_by_storage_and_ends_at_a_hundred(
    served: PoolStorage, source: Source, notes: Notes
) -> None:
    image = source.image("slow/good")
    asking = asyncio.create_task(served.ensure_image(image))
    await until(lambda: any(49 <= u[2]["percent"] < 60 for u in notes.updates))
    source.go_on.set()
    await asking
    assert {(kind, id, by) for kind, id, _, by in notes.updates} == {
        ("template", image.template, "storage")
    }
    told = [columns["percent"] for _, _, columns, _ in notes.updates]
    assert told == sorted(told)
    assert told[-1] == 100


async def test_a_failed_download_never_says_a_hundred(
    served: PoolStorage, source: Source, notes: Notes
) -> None:
    with pytest.raises(Refused):
        await served.ensure_image(source.image("good", checksum="0" * 64))
    assert all(columns["percent"] < 100 for _, _, columns, _ in notes.updates)


async def test_a_volume_writes_no_progress_of_its_image(
    served: PoolStorage, source: Source, notes: Notes
) -> None:
    await served.ensure_volume(clone_of(source.image("good")))
    assert notes.updates == []


@pytest.mark.parametrize("fault", [NotFound("no such row"), Unavailable("away")])
async def test_an_image_is_fetched_also_if_nobody_takes_the_note(
    served: PoolStorage, source: Source, notes: Notes, fault: Fault
) -> None:
    notes.fault = fault
    assert (await served.ensure_image(source.image("good"))).size == SIZE
    assert notes.updates


async def test_an_order_that_is_out_of_date_is_refused(served: PoolStorage, source: Source) -> None:
    image = source.image("good")
    clone = clone_of(image)
    with acting(fence=7):
        await served.ensure_image(image)
        await served.ensure_no_volume(clone.volume)
    with acting(fence=6):
        for late in (
            served.ensure_volume(clone),
            served.ensure_no_volume(clone.volume),
            served.ensure_image(image),
            served.ensure_no_image(image.template),
        ):
            with pytest.raises(Refused, match="out of date"):
                await late
    held = await served.survey()
    assert (held.volumes, held.templates) == ((), (image.template,))


async def test_an_order_that_grew_late_while_it_waited_is_refused(
    served: PoolStorage, source: Source
) -> None:
    clone = clone_of(source.image("slow/good"))
    with acting(fence=6):
        late = asyncio.create_task(served.ensure_volume(clone))
    await until(lambda: source.asked["/slow/good"] > 0)
    with acting(fence=7):
        await served.ensure_no_volume(clone.volume)
    source.go_on.set()
    with pytest.raises(Refused, match="out of date"):
        await late
    assert (await served.survey()).volumes == ()


# -- the role ------------------------------------------------------------------------------------


def node(tmp_path: Path) -> NodeConfig:
    return NodeConfig(cluster="c1", host="h1", state=str(tmp_path))


async def test_a_role_may_play_the_pools_of_many_hosts(tmp_path: Path, bus: LocalBus) -> None:
    config = StorageConfig(driver="sim", hosts=3)
    role = StorageRole(config, node(tmp_path), bus, Store(bus, "storage"))
    names = ("h1", "h1-0002", "h1-0003")
    pools = [PoolId(id_of("c1", "pool", name, f"{name}-local")) for name in names]
    async for _ in role.opened():
        for name, pool in zip(names, pools, strict=True):
            facts = await bus.ask(Storage, at=pool).describe()
            assert (facts.pool, facts.name) == (pool, f"{name}-local")
            assert facts.address == id_of("c1", "host", name)
        made = await bus.ask(Storage, at=pools[1]).ensure_volume(
            Clone(volume=VolumeId(new_id()), size=1 << 30)
        )
        assert [len(outside(pool).volumes) for pool in pools] == [0, 1, 0]
        assert made.volume in outside(pools[1]).volumes
    with pytest.raises(Unavailable):
        await bus.ask(Storage, at=pools[0]).describe()


async def test_a_role_keeps_its_pool_in_the_nodes_state(tmp_path: Path, bus: LocalBus) -> None:
    role = StorageRole(StorageConfig(name="fast"), node(tmp_path), bus, Store(bus, "storage"))
    async for _ in role.opened():
        pool = PoolId(id_of("c1", "pool", "h1", "fast"))
        facts = await bus.ask(Storage, at=pool).describe()
        assert facts.path == f"{tmp_path}/pool"
        assert (facts.name, facts.type) == ("fast", "Filesystem")
        absent = TemplateId(new_id())
        await bus.ask(Storage, at=pool).ensure_no_image(absent)


@pytest.mark.parametrize("config", [StorageConfig(hosts=2), StorageConfig(hosts=0)])
def test_a_folder_is_the_pool_of_one_host(tmp_path: Path, config: StorageConfig) -> None:
    with pytest.raises(Invalid, match="hosts"):
        seats(config, node(tmp_path))
