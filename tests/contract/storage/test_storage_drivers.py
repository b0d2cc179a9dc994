"""The storage suite on each driver, and what a folder of real files must withstand besides."""

from __future__ import annotations

import asyncio
import hashlib
import os
import re
import stat
import subprocess
from collections.abc import Callable, Generator
from pathlib import Path

import pytest
from msgspec.structs import replace

from csnode.drivers.storage import StorageDriver
from csnode.faults import Full, Invalid, Refused
from csnode.model.machine import Clone, Disk, Image
from csnode.testing.storage import StorageSuite, ignore
from csnode.types import TemplateId, VolumeId
from csnode.uuids import new_id
from roles.storage.drivers.dir import DirStorage
from roles.storage.drivers.sim import SimStorage, outside
from tests.contract.storage import source as images
from tests.contract.storage.source import Source, files_of, refused, seat


class TestSim(StorageSuite):
    @pytest.fixture(autouse=True)
    def _pool(self) -> None:
        self.at = replace(seat(), id=new_id())

    def make(self) -> StorageDriver:
        return SimStorage({}, self.at)

    def image(self) -> Image:
        return Image(template=TemplateId(new_id()), url="sim://debian", format="QCOW2")

    def bad_image(self) -> Image:
        return replace(self.image(), url="sim://debian#bad")

    async def test_a_verb_that_is_to_fail_is_refused(self) -> None:
        async with SimStorage({"fail": ["ensure_volume"]}, self.at) as driver:
            with pytest.raises(Refused, match="ensure_volume"):
                await driver.ensure_volume(Clone(volume=VolumeId(new_id()), size=1), ignore)
        outside(self.at.id).failing.add("survey")
        async with self.make() as driver:
            with pytest.raises(Refused, match="survey"):
                await driver.survey()

    async def test_a_full_pool_takes_no_image(self) -> None:
        async with SimStorage({"total_gib": 0}, self.at) as driver:
            with pytest.raises(Full):
                await driver.ensure_image(self.image(), ignore)
            assert (await driver.survey()).templates == ()


class TestDir(StorageSuite):
    @pytest.fixture(autouse=True)
    def _pool(self, tmp_path: Path, source: Source) -> None:
        self.folder, self.source = tmp_path / "pool", source

    def make(self) -> StorageDriver:
        return DirStorage({"allow_private": True}, seat(self.folder))

    def image(self) -> Image:
        return self.source.image("good")

    def bad_image(self) -> Image:
        return self.source.image("good", checksum="{MD5}" + "0" * 32)


# -- what an image may be ------------------------------------------------------------------------

BAD: list[tuple[Callable[[Path], bytes], str]] = [
    (images.make_with_backing_file, "backing file"),
    (images.make_with_data_file, "external data file"),
    (images.make_with_snapshot, "internal snapshots"),
    (images.make_cut_short, "cut short"),
    (images.make_cut_in_its_header, "ends within its header"),
    (images.make_with_a_lie_about_its_size, "tables do not cover"),
    (images.make_too_large, "2048 GiB are allowed"),
    (images.make_encrypted, "encrypted"),
    (images.make_dirty, "not closed cleanly"),
    (images.make_corrupt, "marked as corrupt"),
    (images.make_with_unknown_features, "not known"),
    (images.make_with_a_broken_table, "damaged"),
    (images.make_a_page, "web page"),
    (images.make_compressed, "gzip"),
    (images.make_empty, "empty"),
    (images.make_another_format, "not QCOW2"),
]


@pytest.mark.parametrize(("make", "why"), BAD)
async def test_an_image_that_is_not_sound_is_refused(
    pool: DirStorage, source: Source, tmp_path: Path, make: Callable[[Path], bytes], why: str
) -> None:
    source.files["bad"] = make(tmp_path)
    await refused(pool, source.image("bad"), why)


async def test_a_raw_image_becomes_qcow2(pool: DirStorage, source: Source) -> None:
    image = source.image("raw", format="RAW")
    facts = await pool.ensure_image(image, ignore)
    assert facts.size == images.SIZE
    assert facts.physical_size < images.SIZE // 2
    assert files_of(pool) == {f"templates/{image.template}.qcow2"}


async def test_a_raw_image_must_be_raw_and_whole(pool: DirStorage, source: Source) -> None:
    await refused(pool, source.image("good", format="RAW"), "was registered as RAW")
    source.files["odd"] = bytes(1000)
    await refused(pool, source.image("odd", format="RAW"), "whole sectors")


@pytest.mark.parametrize("form", ["{MD5}", "{SHA-1}", "{SHA-256}", "{SHA-512}", ""])
async def test_a_checksum_decides(pool: DirStorage, source: Source, good: bytes, form: str) -> None:
    name = form.strip("{}").replace("-", "").lower() or "sha256"
    right = hashlib.new(name, good).hexdigest()
    await pool.ensure_image(source.image("good", checksum=form + right.upper()), ignore)
    wrong = hashlib.new(name, b"another").hexdigest()
    await refused(pool, source.image("good", checksum=form + wrong), "checksum")


async def test_a_template_is_read_only_and_a_volume_private(
    pool: DirStorage, source: Source
) -> None:
    image = source.image("good")
    clone = Clone(volume=VolumeId(new_id()), size=images.SIZE * 2, image=image)
    disk = (await pool.ensure_volume(clone, ignore)).path
    template = f"{pool.seat.folder}/templates/{image.template}.qcow2"
    assert stat.S_IMODE(os.stat(template).st_mode) == 0o444
    assert stat.S_IMODE(os.stat(disk).st_mode) == 0o600
    told = images.qemu_img("info", disk)
    assert f"backing file: {template}" in told
    assert "32 MiB" in told


async def test_an_image_may_not_be_larger_than_allowed(tmp_path: Path, source: Source) -> None:
    options = {"allow_private": True, "max_image_bytes": 1 << 16}
    async with DirStorage(options, seat(tmp_path / "pool")) as small:
        await refused(small, source.image("good"), "max_image_bytes")


# -- the folder ----------------------------------------------------------------------------------


async def test_what_a_crash_left_is_swept(tmp_path: Path) -> None:
    (tmp_path / "pool/tmp").mkdir(parents=True)
    (tmp_path / "pool/tmp/half").write_bytes(b"half")
    async with DirStorage({}, seat(tmp_path / "pool")) as driver:
        assert files_of(driver) == set()


async def test_what_was_set_aside_keeps_its_bytes_though_its_image_is_removed(
    pool: DirStorage, source: Source
) -> None:
    image = source.image("good")
    clone = Clone(volume=VolumeId(new_id()), size=images.SIZE, image=image)
    before = _bytes((await pool.ensure_volume(clone, ignore)).path)
    await pool.set_aside(clone.volume)
    name_of_image = f"{image.template}.qcow2"
    bytes_of_image = _bytes(pool.seat.folder, "templates", name_of_image)
    await pool.ensure_no_image(image.template)
    [name] = (await pool.survey()).aside
    assert re.fullmatch(rf"{clone.volume}\.\d{{4}}-\d\d-\d\dT\d{{6}}Z\.[\w-]+\.qcow2", name)
    aside = f"{pool.seat.folder}/quarantine"
    assert _bytes(aside, name) == before
    assert _bytes(aside, "images", name_of_image) == bytes_of_image


def _bytes(*path: str) -> bytes:
    return Path(*path).read_bytes()


async def test_a_pool_has_one_process(pool: DirStorage) -> None:
    with pytest.raises(Invalid, match="used by another process"):
        async with DirStorage({}, pool.seat):
            pass


async def test_a_pool_that_cannot_be_made_is_named(tmp_path: Path) -> None:
    (tmp_path / "pool").write_bytes(b"")
    with pytest.raises(Invalid, match=str(tmp_path / "pool")):
        async with DirStorage({}, seat(tmp_path / "pool")):
            pass


def test_an_unknown_option_is_named() -> None:
    with pytest.raises(Invalid, match="alow_private"):
        DirStorage({"alow_private": True}, seat("/nowhere"))


@pytest.fixture
def small(tmp_path: Path) -> Generator[Path]:
    """A file system of two MiB."""
    folder = tmp_path / "small"
    folder.mkdir()
    subprocess.run(["mount", "-t", "tmpfs", "-o", "size=2m", "none", folder], check=True)
    yield folder
    subprocess.run(["umount", folder], check=True)


@pytest.mark.real
async def test_a_full_disk_takes_no_image(small: Path, source: Source, good: bytes) -> None:
    async with DirStorage({"allow_private": True}, seat(small / "pool")) as driver:
        source.files["large"] = good + bytes(2 << 20)
        await refused(driver, source.image("large"), "no room", Full)
        await refused(driver, source.image("unknown-size/large"), "no room", Full)
        source.files["fits"] = images.raw_bytes()[: 1 << 20]  # but not twice
        await refused(driver, source.image("fits", format="RAW"), "no room", Full)
        await driver.ensure_image(source.image("good"), ignore)


@pytest.mark.real
async def test_a_full_disk_takes_no_volume(small: Path) -> None:
    async with DirStorage({}, seat(small / "pool")) as driver:
        clones = [Clone(volume=VolumeId(new_id()), size=1 << 30) for _ in range(20)]
        made = [driver.ensure_volume(clone, ignore) for clone in clones]
        ends = await asyncio.gather(*made, return_exceptions=True)
        assert {type(end) for end in ends} == {Disk, Full}
        held = await driver.survey()
        assert len(held.volumes) == sum(isinstance(end, Disk) for end in ends)
        assert files_of(driver) == {f"volumes/{volume}.qcow2" for volume in held.volumes}
        await driver.ensure_no_volume(held.volumes[0])
        await driver.ensure_volume(Clone(volume=VolumeId(new_id()), size=1 << 30), ignore)
