"""How an image gets here, what breaks on the way, and where a URL must not lead."""

from __future__ import annotations

import asyncio
import os
from contextlib import suppress
from pathlib import Path
from typing import Any
from urllib.parse import quote

import pytest
from msgspec.structs import replace

from csnode.faults import Fault, Refused, Unavailable
from csnode.model.machine import Image
from csnode.testing.storage import ignore
from csnode.types import TemplateId
from csnode.uuids import new_id
from roles.storage.drivers import reach
from roles.storage.drivers.dir import DirStorage
from tests.contract.storage.source import Source, files_of, refused, seat, until

# -- the way here --------------------------------------------------------------------------------


async def test_a_download_tells_how_far_it_is_and_shows_nothing_before_it_is_whole(
    pool: DirStorage, source: Source
) -> None:
    told: list[int] = []
    image = source.image("slow/good")
    fetching = asyncio.create_task(pool.ensure_image(image, told.append))
    await until(lambda: bool(told) and told[-1] >= 49)
    assert told[-1] < 60
    assert (await pool.survey()).templates == ()
    source.go_on.set()
    await fetching
    assert told[-1] == 100
    assert (await pool.survey()).templates == (image.template,)


async def test_a_cancelled_download_leaves_nothing(pool: DirStorage, source: Source) -> None:
    told: list[int] = []
    fetching = asyncio.create_task(pool.ensure_image(source.image("slow/good"), told.append))
    await until(lambda: bool(told))
    fetching.cancel()
    with pytest.raises(asyncio.CancelledError):
        await fetching
    assert files_of(pool) == set()


async def test_a_server_need_not_say_how_much_it_sends(pool: DirStorage, source: Source) -> None:
    told: list[int] = []
    await pool.ensure_image(source.image("unknown-size/good"), told.append)
    assert told == [100]


async def test_a_broken_transfer_may_be_tried_again(pool: DirStorage, source: Source) -> None:
    await refused(pool, source.image("broken/good"), "broke off", Unavailable)


async def test_a_silent_server_is_given_up(tmp_path: Path, source: Source) -> None:
    options: dict[str, Any] = {"allow_private": True, "stall_seconds": 0.2}
    async with DirStorage(options, seat(tmp_path / "pool")) as hasty:
        await refused(hasty, source.image("slow/good"), "fallen silent", Unavailable)


async def test_a_server_that_drips_is_given_up(tmp_path: Path, source: Source) -> None:
    options: dict[str, Any] = {"allow_private": True, "stall_seconds": 0.4}
    async with DirStorage(options, seat(tmp_path / "pool")) as hasty:
        fault = await refused(hasty, source.image("drip/good"), "too slow", Unavailable)
        assert "16384 bytes a second" in fault.message
    slow = options | {"min_bytes_per_second": 0}
    async with DirStorage(slow, seat(tmp_path / "pool")) as patient:
        told: list[int] = []
        fetching = asyncio.create_task(
            patient.ensure_image(source.image("pieces/good"), told.append)
        )
        await fetching


async def test_headers_that_drip_are_given_up(tmp_path: Path) -> None:
    ended = asyncio.Event()

    async def drip(_: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with suppress(OSError):
            writer.write(b"HTTP/1.1 200 OK\r\nX: ")
            while True:
                writer.write(b"H")
                await writer.drain()
                await asyncio.sleep(0.02)
        writer.close()
        ended.set()

    server = await asyncio.start_server(drip, "127.0.0.1", 0)
    options: dict[str, Any] = {"allow_private": True, "stall_seconds": 0.2}
    async with server, DirStorage(options, seat(tmp_path / "pool")) as hasty:
        url = f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}/x"
        image = Image(template=TemplateId(new_id()), url=url, format="QCOW2")
        await refused(hasty, image, "fallen silent", Unavailable)
        await ended.wait()  # we have hung up


async def test_a_good_image_may_come_in_the_smallest_pieces(
    pool: DirStorage, source: Source
) -> None:
    await pool.ensure_image(source.image("pieces/good"), ignore)


async def test_an_account_whose_downloads_drip_keeps_no_other_from_its_own(
    tmp_path: Path, source: Source
) -> None:
    options: dict[str, Any] = {
        "allow_private": True, "downloads": 3, "downloads_per_account": 2,
        "min_bytes_per_second": 0,
    }  # fmt: skip
    async with DirStorage(options, seat(tmp_path / "pool")) as driver:
        images = [source.image("drip/good", account="slow") for _ in range(5)]
        slow = [asyncio.create_task(driver.ensure_image(image, ignore)) for image in images]
        await until(lambda: source.asked["/drip/good"] == 2)
        await driver.ensure_image(source.image("good", account="other"), ignore)
        await until(lambda: sum(bool(driver.waits(image.template)) for image in images) == 3)
        running = {image.template for image in images if not driver.waits(image.template)}
        said = {driver.waits(image.template) for image in images} - {""}
        assert all("2 downloads of this account" in text for text in said)
        assert all(template in text for template in running for text in said)
        assert source.asked["/drip/good"] == 2
        for task in slow:
            task.cancel()
        await asyncio.wait(slow)


@pytest.mark.parametrize(
    ("path", "why", "kind"),
    [
        ("missing", "404", Refused),
        ("status/403", "403", Refused),
        ("status/500", "500", Unavailable),
        ("status/503", "503", Unavailable),
        ("to?url=/missing", "404", Refused),
        ("to?url=ftp://192.0.2.1/x", "ftp", Refused),
        ("to?url=file:///etc/passwd", "file", Refused),
    ],
)
async def test_a_server_may_say_no(
    pool: DirStorage, source: Source, path: str, why: str, kind: type[Fault]
) -> None:
    await refused(pool, source.image(path), why, kind)


async def test_nobody_listening_may_be_tried_again(pool: DirStorage, source: Source) -> None:
    image = source.image("good")
    await source.server.close()
    await refused(pool, image, "nobody answers", Unavailable)


async def test_redirects_come_to_an_end(pool: DirStorage, source: Source) -> None:
    await refused(pool, source.image("loop"), "more than 5 redirects")
    assert source.asked["/loop"] == 6


@pytest.mark.parametrize("url", ["gopher://x/", "nfs://h/x", "good", "http://", "http:///x", ""])
async def test_only_some_urls_are_fetched(pool: DirStorage, source: Source, url: str) -> None:
    await refused(pool, replace(source.image(""), url=url), "fetched|URL")


async def test_secrets_in_a_url_are_not_told(pool: DirStorage, source: Source) -> None:
    url = source.url("missing?token=hush").replace("http://", "http://me:hush@")
    fault = await refused(pool, replace(source.image(""), url=url), "404")
    assert "hush" not in fault.message


# -- where it must not lead ----------------------------------------------------------------------

INSIDE = ["127.0.0.1", "localhost", "[::ffff:127.0.0.1]", "2130706433", "0x7f.1", "0"]


@pytest.mark.parametrize("host", INSIDE)
async def test_private_addresses_are_not_asked(tmp_path: Path, source: Source, host: str) -> None:
    async with DirStorage({}, seat(tmp_path / "pool")) as strict:
        url = f"http://{host}:{source.port}/good"
        with pytest.raises(Fault) as caught:
            await strict.ensure_image(replace(source.image(""), url=url), ignore)
        assert isinstance(caught.value, (Refused, Unavailable))
        assert files_of(strict) == set()
    assert not source.asked


async def test_a_redirect_into_the_house_is_not_followed(
    tmp_path: Path, source: Source, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The server's own address counts as the wide internet here; the next one does not."""

    def is_public(address: str) -> bool:
        return address == "127.0.0.1"

    monkeypatch.setattr(reach, "is_public", is_public)
    async with DirStorage({}, seat(tmp_path / "pool")) as strict:
        inside = f"http://127.0.0.2:{source.port}/good"
        await refused(strict, source.image(f"to?url={quote(inside)}"), "allow_private")
        await strict.ensure_image(source.image("good"), ignore)
    assert source.asked["/good"] == 1


@pytest.fixture
def roots(tmp_path: Path, good: bytes) -> Path:
    """A folder to read from, and secrets beside it."""
    allowed = tmp_path / "images"
    allowed.mkdir()
    (allowed / "good image.qcow2").write_bytes(good)
    (tmp_path / "secret").write_bytes(good)
    (allowed / "link").symlink_to(tmp_path / "secret")
    (allowed / "loop").symlink_to(allowed / "loop")
    (allowed / "folder").mkdir()
    os.mkfifo(allowed / "pipe")
    return allowed


def file_image(path: str) -> Image:
    return Image(template=TemplateId(new_id()), url=f"file://{path}", format="QCOW2")


async def test_files_are_read_from_listed_folders_only(tmp_path: Path, roots: Path) -> None:
    async with DirStorage({"file_roots": [str(roots)]}, seat(tmp_path / "pool")) as driver:
        for path in (
            f"{roots}/../secret",
            f"{roots}/%2e%2e/secret",
            f"{roots}/link",
            f"{tmp_path}/secret",
            f"{tmp_path}/missing",
            "/etc/passwd",
            "/proc/self/environ",
            f"{roots}x",
        ):
            await refused(driver, file_image(path), "file_roots")
        for path in ("missing", "loop", "folder", "pipe", "a%00b", "good image.qcow2/x"):
            await refused(driver, file_image(f"{roots}/{path}"), "file")
        await refused(driver, file_image(f"elsewhere{roots}/good image.qcow2"), "file URL")
        for path in ("good image.qcow2", "good%20image.qcow2", "folder/../good image.qcow2"):
            await driver.ensure_image(file_image(f"{roots}/{path}"), ignore)
        assert len(files_of(driver)) == 3


async def test_no_file_is_read_unless_folders_are_listed(pool: DirStorage, roots: Path) -> None:
    await refused(pool, file_image(f"{roots}/good image.qcow2"), "file_roots")
