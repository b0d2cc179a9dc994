"""The rules of csnode.drivers.storage, as tests; a driver subclasses the suite."""

from __future__ import annotations

import asyncio
from abc import abstractmethod

import pytest
from msgspec.structs import replace

from csnode.drivers.storage import StorageDriver
from csnode.faults import Conflict, Refused
from csnode.model.machine import Clone, Image
from csnode.types import TemplateId, VolumeId
from csnode.uuids import new_id

SECRETS = ("../../etc/passwd", "..", "", "a" * 36, "x\n", "/e2d395f1-ca3e-4481-9a34-16e2e7793ca")


def ignore(percent: int) -> None:
    """Ignore progress that nobody watches."""
    del percent


class StorageSuite:
    """Each test has a pool of its own, empty at first."""

    @abstractmethod
    def make(self) -> StorageDriver:
        """Return a driver at this test's pool; called again: a new driver at the same pool."""

    @abstractmethod
    def image(self) -> Image:
        """Return a new template's image that can be fetched, of the same size each time."""

    @abstractmethod
    def bad_image(self) -> Image:
        """Return a new template's image whose bytes are not those its checksum was made of."""

    async def clone(self, driver: StorageDriver, image: Image) -> Clone:
        """Return a new volume to be made of the image, which is fetched to learn its size."""
        facts = await driver.ensure_image(image, ignore)
        return Clone(volume=VolumeId(new_id()), size=facts.size, image=image)

    # -- images --------------------------------------------------------------------------------

    async def test_a_new_pool_is_empty_and_has_room(self) -> None:
        async with self.make() as driver:
            facts = await driver.describe()
            assert facts.pool == driver.seat.id
            assert facts.name == driver.seat.name
            assert facts.address == driver.seat.address
            assert 0 <= facts.used_bytes < facts.total_bytes
            held = await driver.survey()
            assert (held.volumes, held.templates) == ((), ())

    async def test_an_image_is_fetched_and_found(self) -> None:
        async with self.make() as driver:
            image = self.image()
            facts = await driver.ensure_image(image, ignore)
            assert facts.size > 0
            assert facts.physical_size > 0
            assert facts.format == "qcow2"
            assert (await driver.survey()).templates == (image.template,)

    async def test_an_image_asked_for_twice_is_there_once(self) -> None:
        async with self.make() as driver:
            image = self.image()
            first = await driver.ensure_image(image, ignore)
            assert await driver.ensure_image(image, ignore) == first
            assert (await driver.survey()).templates == (image.template,)

    async def test_an_image_that_is_here_is_not_fetched_again(self) -> None:
        async with self.make() as driver:
            image = self.image()
            await driver.ensure_image(image, ignore)
            elsewhere = replace(image, url="http://192.0.2.1/gone.qcow2", checksum="")
            assert (await driver.ensure_image(elsewhere, ignore)).size > 0

    async def test_progress_rises_to_a_hundred(self) -> None:
        told: list[int] = []
        async with self.make() as driver:
            await driver.ensure_image(self.image(), told.append)
        assert told == sorted(told)
        assert told[0] >= 0
        assert told[-1] == 100

    async def test_a_wrong_checksum_is_refused_and_leaves_nothing(self) -> None:
        async with self.make() as driver:
            image = self.bad_image()
            with pytest.raises(Refused, match="checksum"):
                await driver.ensure_image(image, ignore)
            assert (await driver.survey()).templates == ()

    @pytest.mark.parametrize("checksum", ["{SHA-256}abc", "{ROT13}0123", "zz", "{SHA-256}", "12"])
    async def test_a_checksum_that_is_none_is_refused(self, checksum: str) -> None:
        async with self.make() as driver:
            with pytest.raises(Refused, match="checksum"):
                await driver.ensure_image(replace(self.image(), checksum=checksum), ignore)
            assert (await driver.survey()).templates == ()

    async def test_a_format_that_is_not_known_is_refused(self) -> None:
        async with self.make() as driver:
            with pytest.raises(Refused, match="QCOW2 or RAW"):
                await driver.ensure_image(replace(self.image(), format="VHD"), ignore)
            assert (await driver.survey()).templates == ()

    async def test_an_absent_image_may_be_removed(self) -> None:
        async with self.make() as driver:
            await driver.ensure_no_image(TemplateId(new_id()))

    async def test_an_image_can_be_fetched_again_after_it_was_removed(self) -> None:
        async with self.make() as driver:
            image = self.image()
            first = await driver.ensure_image(image, ignore)
            await driver.ensure_no_image(image.template)
            assert (await driver.survey()).templates == ()
            assert (await driver.ensure_image(image, ignore)).size == first.size

    async def test_an_image_stays_while_a_volume_is_a_clone_of_it(self) -> None:
        async with self.make() as driver:
            image = self.image()
            clone = await self.clone(driver, image)
            await driver.ensure_volume(clone, ignore)
            with pytest.raises(Conflict):
                await driver.ensure_no_image(image.template)
            assert (await driver.survey()).templates == (image.template,)
            await driver.ensure_no_volume(clone.volume)
            await driver.ensure_no_image(image.template)
            assert (await driver.survey()).templates == ()

    # -- volumes -------------------------------------------------------------------------------

    async def test_a_volume_brings_its_image_along(self) -> None:
        async with self.make() as driver:
            image = self.image()
            async with asyncio.timeout(60):
                clone = Clone(volume=VolumeId(new_id()), size=1 << 40, image=image)
                disk = await driver.ensure_volume(clone, ignore)
            assert disk.volume == clone.volume
            held = await driver.survey()
            assert (held.volumes, held.templates) == ((clone.volume,), (image.template,))

    async def test_a_volume_asked_for_twice_is_there_once(self) -> None:
        async with self.make() as driver:
            clone = await self.clone(driver, self.image())
            disk = await driver.ensure_volume(clone, ignore)
            assert await driver.ensure_volume(clone, ignore) == disk
            assert (await driver.survey()).volumes == (clone.volume,)

    async def test_an_empty_volume_needs_no_image(self) -> None:
        async with self.make() as driver:
            clone = Clone(volume=VolumeId(new_id()), size=1 << 30)
            await driver.ensure_volume(clone, ignore)
            held = await driver.survey()
            assert (held.volumes, held.templates) == ((clone.volume,), ())

    async def test_a_volume_smaller_than_its_image_is_refused(self) -> None:
        async with self.make() as driver:
            clone = await self.clone(driver, self.image())
            with pytest.raises(Refused):
                await driver.ensure_volume(replace(clone, size=clone.size - 1), ignore)
            assert (await driver.survey()).volumes == ()
            assert clone.image is not None
            await driver.ensure_no_image(clone.image.template)  # nothing stands on it

    async def test_a_volume_without_size_is_refused(self) -> None:
        async with self.make() as driver:
            for size in (0, -1):
                with pytest.raises(Refused):
                    await driver.ensure_volume(Clone(volume=VolumeId(new_id()), size=size), ignore)
            assert (await driver.survey()).volumes == ()

    async def test_a_volume_of_a_bad_image_is_not_made(self) -> None:
        async with self.make() as driver:
            clone = Clone(volume=VolumeId(new_id()), size=1 << 40, image=self.bad_image())
            with pytest.raises(Refused):
                await driver.ensure_volume(clone, ignore)
            held = await driver.survey()
            assert (held.volumes, held.templates) == ((), ())

    async def test_an_absent_volume_may_be_removed(self) -> None:
        async with self.make() as driver:
            await driver.ensure_no_volume(VolumeId(new_id()))

    async def test_a_removed_volume_is_gone(self) -> None:
        async with self.make() as driver:
            clone = Clone(volume=VolumeId(new_id()), size=1 << 30)
            await driver.ensure_volume(clone, ignore)
            await driver.ensure_no_volume(clone.volume)
            await driver.ensure_no_volume(clone.volume)
            assert (await driver.survey()).volumes == ()

    async def test_twenty_clones_can_be_made_at_once(self) -> None:
        async with self.make() as driver:
            first = await self.clone(driver, self.image())
            clones = [replace(first, volume=VolumeId(new_id())) for _ in range(20)]
            disks = await asyncio.gather(*(driver.ensure_volume(c, ignore) for c in clones))
            assert len({disk.path for disk in disks}) == 20
            assert (await driver.survey()).volumes == tuple(sorted(c.volume for c in clones))

    # -- both ----------------------------------------------------------------------------------

    async def test_what_is_set_aside_is_out_of_use_and_named(self) -> None:
        async with self.make() as driver:
            image = self.image()
            clone = await self.clone(driver, image)
            await driver.ensure_volume(clone, ignore)
            with pytest.raises(Conflict):
                await driver.set_aside(image.template)
            for _ in range(2):
                await driver.set_aside(clone.volume)
            held = await driver.survey()
            assert (held.volumes, held.templates) == ((), (image.template,))
            assert [clone.volume in name for name in held.aside] == [True]
            await driver.set_aside(image.template)  # nothing in use stands on it now
            held = await driver.survey()
            assert (held.volumes, held.templates, len(held.aside)) == ((), (), 2)
            assert any(image.template in name for name in held.aside)
        async with self.make() as driver:
            assert await driver.survey() == held

    async def test_what_is_absent_may_be_set_aside(self) -> None:
        async with self.make() as driver:
            await driver.set_aside(VolumeId(new_id()))
            assert (await driver.survey()).aside == ()

    async def test_a_volume_set_aside_can_be_made_anew_and_set_aside_again(self) -> None:
        async with self.make() as driver:
            clone = Clone(volume=VolumeId(new_id()), size=1 << 30)
            await driver.ensure_volume(clone, ignore)
            await driver.set_aside(clone.volume)
            disk = await driver.ensure_volume(clone, ignore)
            assert disk.volume == clone.volume
            held = await driver.survey()
            assert (held.volumes, len(held.aside)) == ((clone.volume,), 1)
            await driver.set_aside(clone.volume)
            held = await driver.survey()
            assert (held.volumes, len(held.aside)) == ((), 2)

    async def test_a_new_driver_finds_what_the_one_before_it_made(self) -> None:
        async with self.make() as driver:
            image = self.image()
            clone = await self.clone(driver, image)
            disk = await driver.ensure_volume(clone, ignore)
            before = await driver.survey()
        async with self.make() as driver:
            assert await driver.survey() == before
            assert await driver.ensure_volume(clone, ignore) == disk
            with pytest.raises(Conflict):
                await driver.ensure_no_image(image.template)

    @pytest.mark.parametrize("id", SECRETS)
    async def test_an_id_that_is_none_is_refused(self, id: str) -> None:
        async with self.make() as driver:
            volume, template = VolumeId(id), TemplateId(id)
            with pytest.raises(Refused):
                await driver.ensure_volume(Clone(volume=volume, size=1 << 30), ignore)
            with pytest.raises(Refused):
                await driver.ensure_no_volume(volume)
            with pytest.raises(Refused):
                await driver.ensure_image(replace(self.image(), template=template), ignore)
            with pytest.raises(Refused):
                await driver.ensure_no_image(template)
            with pytest.raises(Refused):
                await driver.set_aside(volume)
            held = await driver.survey()
            assert (held.volumes, held.templates) == ((), ())
