"""One folder that several machines serve as one pool: the suite, each driver on another machine."""

from __future__ import annotations

import asyncio
import itertools
from pathlib import Path

import pytest
from msgspec.structs import replace

from csnode.config import NodeConfig
from csnode.drivers.driver import Seat
from csnode.drivers.storage import StorageDriver
from csnode.faults import Conflict, Invalid
from csnode.model.machine import Clone, Image
from csnode.testing.storage import StorageSuite, ignore
from csnode.types import TemplateId, VolumeId
from csnode.uuids import new_id
from roles.storage.config import StorageConfig, seats
from roles.storage.drivers.dir import DirStorage
from tests.contract.storage.source import Source


def config(path: Path | str) -> StorageConfig:
    return StorageConfig(name="nfs1", shared=True, options={"path": str(path)})


def seat_of(machine: str, path: Path) -> Seat:
    (seat,) = seats(config(path), NodeConfig(host=machine))
    return seat


class TestSharedDir(StorageSuite):
    @pytest.fixture(autouse=True)
    def _pool(self, tmp_path: Path, source: Source) -> None:
        self.path, self.source = tmp_path / "shared", source
        self.machines = itertools.count(1)

    def make(self) -> DirStorage:
        options = {"path": str(self.path), "allow_private": True, "stall_seconds": 5.0}
        return DirStorage(options, seat_of(f"m{next(self.machines)}", self.path))

    def image(self) -> Image:
        return self.source.image("good")

    def bad_image(self) -> Image:
        return replace(self.image(), checksum="{SHA-256}" + "0" * 64)

    async def test_what_one_machine_made_the_others_have_at_the_same_path(self) -> None:
        async with self.make() as one, self.make() as two:
            clone = await self.clone(one, self.image())
            made = await one.ensure_volume(clone, ignore)
            assert (await two.survey()).volumes == (clone.volume,)
            assert await two.ensure_volume(clone, ignore) == made
            assert (await two.describe()).pool == (await one.describe()).pool
            await two.ensure_no_volume(clone.volume)
            assert (await one.survey()).volumes == ()

    async def test_an_image_with_clones_of_another_machine_stays(self) -> None:
        async with self.make() as one, self.make() as two:
            image = self.image()
            clone = await self.clone(one, image)
            await one.ensure_volume(clone, ignore)
            assert await _conflicts(two, image.template)
            await one.ensure_no_volume(clone.volume)
            await two.ensure_no_image(image.template)
            assert (await one.survey()).templates == ()

    async def test_both_may_make_the_same_at_the_same_time(self) -> None:
        async with self.make() as one, self.make() as two:
            clone = await self.clone(one, self.image())
            both = await asyncio.gather(*(d.ensure_volume(clone, ignore) for d in (one, two)))
            assert both[0] == both[1]
            assert (await two.survey()).volumes == (clone.volume,)

    async def test_two_sweeps_set_the_same_aside_once(self) -> None:
        async with self.make() as one, self.make() as two:
            strangers = [Clone(volume=VolumeId(new_id()), size=1 << 20) for _ in range(8)]
            for stranger in strangers:
                await one.ensure_volume(stranger, ignore)
            await asyncio.gather(
                *(driver.set_aside(s.volume) for s in strangers for driver in (one, two))
            )
            held = await one.survey()
            assert held.volumes == ()
            assert len(held.aside) == len(strangers)

    async def test_a_machine_that_starts_leaves_alone_what_another_is_making(self) -> None:
        self.source.go_on.clear()
        async with self.make() as one:
            made = self.path / "tmp" / "m1" / "being-made"
            made.touch()
            async with self.make() as two:
                assert made.exists()
                assert (await two.survey()).volumes == (await one.survey()).volumes == ()


async def _conflicts(driver: StorageDriver, template: TemplateId) -> bool:
    try:
        await driver.ensure_no_image(template)
    except Conflict:
        return True
    return False


def test_a_shared_pool_is_the_same_whoever_serves_it() -> None:
    one, two = seat_of("m1", Path("/mnt/nfs1")), seat_of("m2", Path("/mnt/nfs1"))
    assert (one.id, one.name, one.address) == (two.id, two.name, "")
    local = seats(StorageConfig(name="nfs1"), NodeConfig(host="m1"))[0]
    assert local.id != one.id


@pytest.mark.parametrize("wrong", [{"name": ""}, {"options": {}}, {"options": {"path": "pool"}}])
def test_a_shared_pool_needs_a_name_and_a_place(wrong: dict[str, object]) -> None:
    with pytest.raises(Invalid, match=r"\[storage"):
        seats(replace(config("/mnt/nfs1"), **wrong), NodeConfig(host="m1"))
