"""Images of every kind, a web server that hands them out, badly if asked to, and checks."""

from __future__ import annotations

import asyncio
import random
import struct
import subprocess
from collections import Counter
from collections.abc import Callable
from pathlib import Path

import pytest
from aiohttp import web
from aiohttp.test_utils import TestServer

from csnode.drivers.driver import Seat
from csnode.faults import Fault, Refused
from csnode.model.machine import Image
from csnode.testing.patience import patient
from csnode.testing.storage import ignore
from csnode.types import AccountId, TemplateId
from csnode.uuids import id_of, new_id
from roles.storage.drivers.dir import DirStorage

SIZE = 16 << 20  # of every image, as a machine sees it


def qemu_img(*words: object) -> str:
    command = ["qemu-img", *map(str, words)]
    return subprocess.run(command, check=True, capture_output=True, text=True).stdout


def raw_bytes() -> bytes:
    """One MiB that does not compress, then a hole."""
    return random.Random(1).randbytes(1 << 20) + bytes(SIZE - (1 << 20))


def make_good(folder: Path) -> bytes:
    raw, good = folder / "raw", folder / "good.qcow2"
    raw.write_bytes(raw_bytes())
    qemu_img("convert", "-f", "raw", "-O", "qcow2", raw, good)
    return good.read_bytes()


def make_with_backing_file(folder: Path) -> bytes:
    qemu_img(
        "create", "-q", "-u", "-f", "qcow2", "-b", "/etc/passwd", "-F", "raw", folder / "b", SIZE
    )
    return (folder / "b").read_bytes()


def make_with_data_file(folder: Path) -> bytes:
    data = f"data_file={folder}/outside,data_file_raw=on"
    qemu_img("create", "-q", "-f", "qcow2", "-o", data, folder / "d", SIZE)
    return (folder / "d").read_bytes()


def make_with_snapshot(folder: Path) -> bytes:
    make_good(folder)
    qemu_img("snapshot", "-c", "inside", folder / "good.qcow2")
    return (folder / "good.qcow2").read_bytes()


def make_cut_short(folder: Path) -> bytes:
    good = make_good(folder)
    return good[: len(good) - (512 << 10)]


def make_cut_in_its_header(folder: Path) -> bytes:
    return make_good(folder)[:80]


def _patched(folder: Path, at: int, form: str, value: int) -> bytes:
    good = bytearray(make_good(folder))
    struct.pack_into(form, good, at, value)
    return bytes(good)


def make_with_a_lie_about_its_size(folder: Path) -> bytes:
    return _patched(folder, 24, ">Q", 1 << 40)


def make_too_large(folder: Path) -> bytes:
    qemu_img("create", "-q", "-f", "qcow2", folder / "large", 3 << 40)
    return (folder / "large").read_bytes()


def make_encrypted(folder: Path) -> bytes:
    return _patched(folder, 32, ">I", 1)


def make_dirty(folder: Path) -> bytes:
    return _patched(folder, 72, ">Q", 1)


def make_corrupt(folder: Path) -> bytes:
    return _patched(folder, 72, ">Q", 2)


def make_with_unknown_features(folder: Path) -> bytes:
    return _patched(folder, 72, ">Q", 1 << 40)


def make_with_a_broken_table(folder: Path) -> bytes:
    """The first entry of the L1 table points past the end of the file."""
    good = make_good(folder)
    table = struct.unpack_from(">Q", good, 40)[0]
    return _patched(folder, table, ">Q", (1 << 63) | (1 << 40))


def make_a_page(folder: Path) -> bytes:
    return b"\n<!DOCTYPE html><html><body>Please log in</body></html>"


def make_compressed(folder: Path) -> bytes:
    return b"\x1f\x8b\x08\x00" + bytes(64)


def make_another_format(folder: Path) -> bytes:
    return b"KDMV" + bytes(508)


def make_empty(folder: Path) -> bytes:
    return b""


class Source:
    """Serves what is in `files`, by path; the other paths misbehave as they are called."""

    def __init__(self) -> None:
        self.files: dict[str, bytes] = {}
        self.asked: Counter[str] = Counter()
        self.go_on = asyncio.Event()
        app = web.Application()
        app.router.add_get("/slow/{name}", self._slow)
        app.router.add_get("/broken/{name}", self._broken)
        app.router.add_get("/drip/{name}", self._drip)
        app.router.add_get("/pieces/{name}", self._pieces)
        app.router.add_get("/to", self._redirect)
        app.router.add_get("/unknown-size/{name}", self._chunked)
        app.router.add_get("/loop", self._loop)
        app.router.add_get("/status/{code}", self._status)
        app.router.add_get("/{name}", self._whole)
        self.server = TestServer(app, host="127.0.0.1")

    @property
    def port(self) -> int:
        return self.server.make_url("/").port or 0

    def url(self, path: str) -> str:
        return str(self.server.make_url("/")) + path

    def image(
        self, name: str, checksum: str = "", format: str = "QCOW2", account: str = ""
    ) -> Image:
        return Image(
            template=TemplateId(new_id()),
            url=self.url(name),
            format=format,
            checksum=checksum,
            account=AccountId(account),
        )

    async def _whole(self, request: web.Request) -> web.Response:
        self.asked[request.path] += 1
        body = self.files.get(request.match_info["name"])
        return web.Response(status=404) if body is None else web.Response(body=body)

    async def _slow(self, request: web.Request) -> web.StreamResponse:
        """Half of the file, and the rest when the test says so."""
        self.asked[request.path] += 1
        body = self.files[request.match_info["name"]]
        response = web.StreamResponse(headers={"Content-Length": str(len(body))})
        await response.prepare(request)
        await response.write(body[: len(body) // 2])
        await self.go_on.wait()
        await response.write(body[len(body) // 2 :])
        return response

    async def _drip(self, request: web.Request) -> web.StreamResponse:
        """A byte now and then, for ever."""
        self.asked[request.path] += 1
        response = web.StreamResponse(headers={"Content-Length": str(1 << 30)})
        await response.prepare(request)
        while not self.go_on.is_set():
            await response.write(self.files[request.match_info["name"]][:1])
            await asyncio.sleep(0.02)
        return response

    async def _pieces(self, request: web.Request) -> web.StreamResponse:
        """The file, whose first bytes come one by one."""
        body = self.files[request.match_info["name"]]
        response = web.StreamResponse(headers={"Content-Length": str(len(body))})
        await response.prepare(request)
        for at in range(6):
            await response.write(body[at : at + 1])
            await asyncio.sleep(0.01)  # a segment of its own
        await response.write(body[6:])
        return response

    async def _chunked(self, request: web.Request) -> web.StreamResponse:
        """The file, without saying how large it is."""
        response = web.StreamResponse()
        response.enable_chunked_encoding()
        await response.prepare(request)
        await response.write(self.files[request.match_info["name"]])
        return response

    async def _broken(self, request: web.Request) -> web.StreamResponse:
        """Half of the file, and the connection is cut."""
        body = self.files[request.match_info["name"]]
        response = web.StreamResponse(headers={"Content-Length": str(len(body))})
        await response.prepare(request)
        await response.write(body[: len(body) // 2])
        assert request.transport is not None
        request.transport.abort()
        return response

    async def _redirect(self, request: web.Request) -> web.Response:
        return web.Response(status=302, headers={"Location": request.query["url"]})

    async def _loop(self, request: web.Request) -> web.Response:
        self.asked[request.path] += 1
        return web.Response(status=302, headers={"Location": "/loop"})

    async def _status(self, request: web.Request) -> web.Response:
        return web.Response(status=int(request.match_info["code"]))


def seat(folder: Path | str = "") -> Seat:
    return Seat(id=id_of("pool", str(folder)), name="h1-local", address="h1", folder=str(folder))


def files_of(driver: DirStorage) -> set[str]:
    folder = Path(driver.seat.folder)
    return {str(file.relative_to(folder)) for file in folder.rglob("*") if file.is_file()} - {
        "lock"
    }


async def refused(driver: DirStorage, image: Image, why: str, kind: type[Fault] = Refused) -> Fault:
    """The image is refused for that reason, and the pool's folder is as it was before."""
    before = files_of(driver)
    with pytest.raises(kind, match=why) as caught:
        await driver.ensure_image(image, ignore)
    assert files_of(driver) == before
    return caught.value


async def until(true: Callable[[], bool]) -> None:
    async with asyncio.timeout(patient(20)):
        while not true():
            await asyncio.sleep(0.005)
