"""The dir driver: a pool is a folder of qcow2 files, volumes are linked clones of templates.

    templates/<id>.qcow2   checked, read-only, never replaced
    volumes/<id>.qcow2     a clone names its template as backing file
    tmp/                   whatever is being made; emptied at every start
    refused/               why an image is not fetched again (refusals.py)
    locks/                 in a shared pool: a template's, while it is cloned or removed
    quarantine/            what nobody knew; nothing of it is ever used or removed by us

Of a shared pool each machine that serves it has a lock and a folder in tmp/ of its own. Locks work
between machines where the file system has them (NFS 4, GFS2, OCFS2; not NFS 3 without lockd).

A file gets its name under templates/ or volumes/ only when it is whole and flushed.
"""

from __future__ import annotations

import fcntl
import os
from collections import defaultdict
from collections.abc import AsyncGenerator, Mapping
from contextlib import asynccontextmanager, suppress
from functools import partial
from pathlib import Path
from types import TracebackType
from typing import Annotated, Any, BinaryIO, ClassVar, Self

from msgspec import Meta

from csnode.drivers.driver import Seat
from csnode.drivers.storage import Progress, StorageDriver
from csnode.faults import Conflict, Invalid, Refused
from csnode.log import logger
from csnode.model.machine import Clone, Disk, Holdings, Image, ImageFacts, PoolFacts
from csnode.model.template import ImageFormat
from csnode.program import way_apart
from csnode.types import PoolId, Struct, TemplateId, VolumeId
from csnode.uuids import new_secret
from roles.storage.drivers import qemu_img, quarantine
from roles.storage.drivers.checksum import parse_checksum
from roles.storage.drivers.fetch import Rules, fetch
from roles.storage.drivers.files import (
    allocated,
    checked_id,
    checked_name,
    in_thread,
    place,
    told_as_fault,
)
from roles.storage.drivers.qcow2 import Header, check_template, read_header
from roles.storage.drivers.refusals import Refusals
from roles.storage.drivers.sink import Sink
from roles.storage.drivers.turns import Turns

log = logger("storage.dir")
READ_ONLY, OWNER_ONLY = 0o444, 0o600


class DirOptions(Struct, forbid_unknown_fields=True):
    """[storage.options] of the dir driver."""

    path: str = ""  # of the pool; empty: pool/ in the node's state folder
    file_roots: tuple[str, ...] = ()  # folders that file:// URLs may name; empty: none
    allow_private: bool = False  # fetch from loopback, link-local and private addresses too
    max_image_bytes: int = 50 << 30  # of a download
    max_virtual_bytes: int = 2 << 40  # of an image as a machine sees it
    stall_seconds: float = 30.0  # a download that is silent for so long has failed
    min_bytes_per_second: int = 16 << 10  # one that is slower for so long has failed too
    downloads: Annotated[int, Meta(ge=1)] = 6  # at the same time
    downloads_per_account: Annotated[int, Meta(ge=1)] = 2


class DirStorage(StorageDriver):
    """One folder. Enter it before use; one process at a time may."""

    options_type: ClassVar[type[Struct]] = DirOptions
    options: DirOptions

    def __init__(self, options: Mapping[str, Any], seat: Seat) -> None:
        super().__init__(options, seat)
        self._pool = Path(self.options.path or seat.folder).resolve()
        self._machine = checked_name(seat.machine) if not seat.address else ""
        self._clones: dict[TemplateId, set[VolumeId]] = defaultdict(set)
        self._leaving: set[TemplateId] = set()
        self._turns = Turns(self.options.downloads, self.options.downloads_per_account)
        self._lock = -1
        self._apart: tuple[str, ...] = ()  # words that take a tool's rights away
        self._refusals = Refusals(self._pool, self._tmp)

    async def __aenter__(self) -> Self:
        qemu_img.tool()
        try:
            self._apart = await way_apart()
        except OSError as missing:
            raise Refused(f"the dir storage driver: {missing}") from missing
        await in_thread(self._open)
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        if self._lock >= 0:
            os.close(self._lock)
            self._lock = -1

    # -- verbs ---------------------------------------------------------------------------------

    async def describe(self) -> PoolFacts:
        with told_as_fault("to look at it"):
            found = await in_thread(os.statvfs, self._pool)
        return PoolFacts(
            pool=PoolId(self.seat.id),
            name=self.seat.name,
            type="SharedMountPoint" if self._machine else "Filesystem",
            path=str(self._pool),
            address=self.seat.address,
            total_bytes=found.f_blocks * found.f_frsize,
            used_bytes=(found.f_blocks - found.f_bfree) * found.f_frsize,
        )

    async def ensure_image(self, image: Image, progress: Progress) -> ImageFacts:
        at = self._template(image.template)
        facts = await in_thread(_facts, at)
        if facts is None:
            await in_thread(self._refusals.check, image.template)
            async with self._turns.taken(image.template, image.account):
                await self._fetch(image, at, progress)
            facts = await in_thread(_facts, at)
            if facts is None:
                raise Conflict(f"the image of template {image.template} was removed again")
        progress(100)
        return facts

    def waits(self, template: TemplateId) -> str:
        return self._turns.waits(template)

    async def ensure_no_image(self, template: TemplateId) -> None:
        at = self._template(template)
        async with self._held(template, fcntl.LOCK_EX):
            if self._clones.get(template):
                count = len(self._clones[template])
                raise Conflict(f"{count} volumes of this pool are clones of template {template}")
            self._leaving.add(template)
            try:
                with told_as_fault("to remove an image"):
                    await in_thread(partial(at.unlink, missing_ok=True))
                    await in_thread(self._refusals.forget, template)
                self._clones.pop(template, None)
            finally:
                self._leaving.discard(template)

    async def ensure_volume(self, clone: Clone, progress: Progress) -> Disk:
        at = self._volume(clone.volume)
        if not await in_thread(at.exists):
            if clone.image is None:
                await self._make(clone.volume, clone.size, None)
            else:
                facts = await self.ensure_image(clone.image, progress)
                await self._clone(clone, clone.image.template, facts)
        return Disk(volume=clone.volume, path=str(at))

    async def ensure_no_volume(self, volume: VolumeId) -> None:
        at = self._volume(volume)
        with told_as_fault("to remove a volume"):
            await in_thread(partial(at.unlink, missing_ok=True))
        for clones in self._clones.values():
            clones.discard(volume)

    async def survey(self) -> Holdings:
        volumes, templates, aside = await in_thread(self._look)
        return Holdings(
            volumes=tuple(VolumeId(id) for id in volumes),
            templates=tuple(TemplateId(id) for id in templates),
            aside=tuple(aside),
        )

    async def set_aside(self, id: VolumeId | TemplateId) -> None:
        volume, template = VolumeId(id), TemplateId(id)
        async with self._held(template, fcntl.LOCK_EX):
            if self._clones.get(template):
                raise Conflict(f"volumes of this pool are clones of template {template}")
            self._leaving.add(template)
            try:
                with told_as_fault("to set a file aside"):
                    for file in (self._volume(volume), self._template(template)):
                        await in_thread(self._quarantine, file)
            finally:
                self._leaving.discard(template)
        for clones in self._clones.values():
            clones.discard(volume)

    def _quarantine(self, file: Path) -> None:
        if not file.exists():
            return
        with suppress(FileNotFoundError):  # another machine's sweep was quicker
            name = quarantine.take_in(self._pool, file, self._image_of(file))
            log.warning("set aside", file=str(file), as_name=name, pool=str(self._pool))

    # -- images --------------------------------------------------------------------------------

    async def _fetch(self, image: Image, at: Path, progress: Progress) -> None:
        """Download, check, and put in place; whatever goes wrong leaves nothing."""
        format = image.format.upper()
        if format not in [*ImageFormat]:
            raise Refused(f"images are QCOW2 or RAW, not {image.format[:40]!r}")
        raw, made = self._new(image.template), self._new(image.template)
        try:
            await self._download(image, format, raw, progress)
            if format == ImageFormat.RAW:
                await self._convert(raw, made)
            else:
                made = raw
                await self._examine(image.template, made)
            await in_thread(place, made, at, READ_ONLY)
        finally:
            _drop(raw, made)

    async def _download(self, image: Image, format: str, to: Path, progress: Progress) -> None:
        checksum = parse_checksum(image.checksum)
        rules = Rules(
            file_roots=self.options.file_roots,
            allow_private=self.options.allow_private,
            stall_seconds=self.options.stall_seconds,
            min_rate=self.options.min_bytes_per_second,
        )
        sink = await in_thread(Sink, to, format, checksum, self.options.max_image_bytes)
        try:
            await fetch(image.url, sink, rules, progress)
            sink.finish()
        finally:
            sink.close()

    async def _examine(self, template: TemplateId, file: Path) -> None:
        """Examine by our own reading first: qemu-img opens only what is known to stand alone."""
        header, size = await in_thread(_header_and_size, file)
        check_template(header, size, self.options.max_virtual_bytes)
        with self._refusals.noting(template):
            await qemu_img.examine(file, header, self._apart)

    async def _convert(self, raw: Path, to: Path) -> None:
        size = await in_thread(os.path.getsize, raw)
        if size % 512:
            raise Refused(f"{size} bytes are no raw image: it has whole sectors of 512 bytes")
        await qemu_img.convert_raw(raw, to, size)

    # -- volumes -------------------------------------------------------------------------------

    async def _clone(self, clone: Clone, template: TemplateId, facts: ImageFacts) -> None:
        if clone.size < facts.size:
            raise Refused(
                f"a volume of {clone.size} bytes cannot hold the image of template {template},"
                f" which has {facts.size}"
            )
        async with self._held(template, fcntl.LOCK_SH):
            if template in self._leaving:
                raise Conflict(f"the image of template {template} is being removed")
            self._clones[template].add(clone.volume)  # from here on the image stays
            try:
                await self._make(clone.volume, clone.size, self._template(template))
            except BaseException:
                self._clones[template].discard(clone.volume)
                raise

    @asynccontextmanager
    async def _held(self, template: TemplateId, how: int) -> AsyncGenerator[None]:
        """Hold an image of a shared pool: while it is cloned nobody removes it, and the reverse.

        Whoever may remove it has seen every clone of it. Raises Conflict.
        """
        if not self._machine or not await in_thread(self._template(template).exists):
            yield
            return
        with told_as_fault("to lock an image"):
            held = await in_thread(self._lock_image, template, how)
        try:
            if how == fcntl.LOCK_EX:
                self._clones[template] = set(await in_thread(self._clones_of, template))
            yield
        finally:
            os.close(held)

    def _lock_image(self, template: TemplateId, how: int) -> int:
        file = self._pool / "locks" / checked_id(template)
        held = os.open(file, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, OWNER_ONLY)
        try:  # removing takes a moment, cloning may take longer
            fcntl.flock(held, how | fcntl.LOCK_NB if how == fcntl.LOCK_EX else how)
        except BlockingIOError as busy:
            os.close(held)
            raise Conflict(f"volumes are being made from template {template}") from busy
        return held

    async def _make(self, volume: VolumeId, size: int, backing: Path | None) -> None:
        if not 0 < size <= self.options.max_virtual_bytes:
            raise Refused(f"a volume cannot have {size} bytes")
        made = self._new(volume)
        try:
            await qemu_img.create(made, size, backing)
            await in_thread(place, made, self._volume(volume), OWNER_ONLY)
        finally:
            _drop(made)

    # -- the folder ----------------------------------------------------------------------------

    def _template(self, id: TemplateId) -> Path:
        return self._pool / "templates" / f"{checked_id(id)}.qcow2"

    def _volume(self, id: VolumeId) -> Path:
        return self._pool / "volumes" / f"{checked_id(id)}.qcow2"

    def _new(self, id: str) -> Path:
        return self._tmp / f"{checked_id(id)}.{new_secret(6)}"

    @property
    def _tmp(self) -> Path:
        return self._pool / "tmp" / self._machine

    def _open(self) -> None:
        """Make the folders, lock the pool, sweep what a crash left, and see what stands on what."""
        try:
            for name in ("templates", "volumes", "locks", f"tmp/{self._machine}"):
                (self._pool / name).mkdir(mode=0o711, parents=True, exist_ok=True)
            quarantine.prepare(self._pool)
            lock = f"lock.{self._machine}" if self._machine else "lock"
            self._lock = os.open(self._pool / lock, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
            fcntl.flock(self._lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            self._refusals.open()
            _drop(*self._tmp.iterdir())
        except OSError as error:
            if self._lock >= 0:
                os.close(self._lock)
                self._lock = -1
            if isinstance(error, BlockingIOError):
                raise Invalid(
                    f"the storage pool {self._pool} is used by another process"
                ) from error
            raise Invalid(f"the storage pool {self._pool} cannot be used: {error}") from error
        self._find_clones()

    def _find_clones(self) -> None:
        for volume in (self._pool / "volumes").glob("*.qcow2"):
            if image := self._image_of(volume):
                self._clones[TemplateId(image.stem)].add(VolumeId(volume.stem))

    def _clones_of(self, template: TemplateId) -> list[VolumeId]:
        """Find the clones as the folder has them now, whoever made them."""
        image = self._template(template)
        volumes = (self._pool / "volumes").glob("*.qcow2")
        return [VolumeId(file.stem) for file in volumes if self._image_of(file) == image]

    def _image_of(self, file: Path) -> Path | None:
        """Return the pool's image that the file is a clone of; None also if it cannot be read."""
        try:
            backing = Path(_header(file).backing)
        except (Refused, OSError) as error:
            log.warning("a volume cannot be read", file=str(file), why=str(error))
            return None
        return backing if backing.parent == self._pool / "templates" else None

    def _look(self) -> tuple[list[str], list[str], list[str]]:
        with told_as_fault("to list it"):
            volumes, templates = (
                sorted(file.stem for file in (self._pool / kind).iterdir() if _is_ours(file))
                for kind in ("volumes", "templates")
            )
            return volumes, templates, quarantine.names(self._pool)


def _is_ours(file: Path) -> bool:
    with suppress(Refused):
        return file.suffix == ".qcow2" and bool(checked_id(file.stem))
    return False


def _header(file: Path) -> Header:
    with file.open("rb") as opened:
        source: BinaryIO = opened
        return read_header(source)


def _header_and_size(file: Path) -> tuple[Header, int]:
    return _header(file), file.stat().st_size


def _facts(at: Path) -> ImageFacts | None:
    """Return what an image in place is; None if it is not there."""
    try:
        return ImageFacts(size=_header(at).size, physical_size=allocated(at))
    except FileNotFoundError:
        return None


def _drop(*files: Path) -> None:
    for file in files:
        file.unlink(missing_ok=True)
