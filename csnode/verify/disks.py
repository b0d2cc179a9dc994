"""Bytes: every volume has its own, in one pool, and all bytes have their record (P2, P8)."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterator

from csnode.model.template import Template
from csnode.model.volume import Volume
from csnode.types import PoolId, TemplateId, VolumeId
from csnode.verify.evidence import Evidence
from csnode.verify.finding import Check, Finding, SetAside

NO_VOLUME = Check(
    "bytes-without-volume", "P8", "volume",
    cause="a deploy was undone while the pool did not answer, or a row was deleted",
    remedy="set the bytes aside; an operator deletes them when nobody misses them",
)  # fmt: skip
NO_BYTES = Check(
    "volume-without-bytes", "P8", "volume",
    cause="somebody deleted the file, or the pool was replaced",
    remedy="restore the file from a backup, or destroy the machine",
)  # fmt: skip
IN_TWO_POOLS = Check(
    "volume-in-two-pools", "P2", "volume",
    cause="a copy was left behind, or a deploy was undone while a pool did not answer",
    remedy="set aside the copy that the record does not name",
)  # fmt: skip
IN_OTHER_POOL = Check(
    "volume-in-other-pool", "P8", "volume",
    cause="somebody moved the file, or edited the row",
    remedy="move the file back, or name the pool in the volume's row",
)  # fmt: skip
NO_TEMPLATE = Check(
    "image-without-template", "P8", "template",
    cause="the template was deleted while the pool did not answer",
    remedy="set the image aside, unless volumes are clones of it",
)  # fmt: skip
NO_IMAGE = Check(
    "clones-without-image", "P8", "template",
    cause="somebody deleted the image's file: the clones of it cannot be read without it",
    remedy="register the same image again, or restore the file from a backup, at once",
)  # fmt: skip
ASIDE = Check(
    "set-aside", "P8", "pool",
    cause="nobody knew these bytes; nothing of csnode's uses them now",
    remedy="look at them, and delete them by hand if nobody misses them",
    grave=False,
)  # fmt: skip


def bytes_of(ev: Evidence) -> Iterator[Finding]:
    """Check that what lies in the pools is in the records."""
    for pool, holdings in ev.pools.items():
        for id in holdings.volumes:
            row = ev.get(Volume, id)
            if (row is None or row.pool != pool) and id not in ev.moving:
                yield from _misplaced(ev, pool, id, row)
        for id in holdings.templates:
            if ev.get(Template, id) is None and id not in ev.moving:
                cloned = any(v.template == id and v.pool == pool for v in ev.all(Volume))
                cure = None if cloned else SetAside(pool=PoolId(pool), id=TemplateId(id))
                what = f"{ev.host_name(pool)} has an image that no template has"
                yield NO_TEMPLATE.found(id, what, host=pool, repair=cure)
        if holdings.aside:
            what = f"{len(holdings.aside)} lie in {ev.host_name(pool)}: "
            yield ASIDE.found(pool, what + ", ".join(holdings.aside[:10]), host=pool)


def _misplaced(ev: Evidence, pool: str, id: VolumeId, row: Volume | None) -> Iterator[Finding]:
    at = ev.host_name(pool)
    cure = SetAside(pool=PoolId(pool), id=id)
    if row is None:
        yield NO_VOLUME.found(id, f"{at} has a volume that no record knows", host=pool, repair=cure)
    elif row.pool is None:
        what = f"{at} has {row.name}, which is in no pool by its record"
        yield NO_VOLUME.found(id, what, host=pool, repair=cure)
    else:
        right = ev.host_name(row.pool)
        if row.pool in ev.pools and id in ev.pools[row.pool].volumes:
            what = f"{at} has {row.name}, and so has {right}, where it belongs"
            yield IN_TWO_POOLS.found(id, what, host=pool, repair=cure)
        else:
            what = f"{at} has {row.name}, but its record says {right}"
            yield IN_OTHER_POOL.found(id, what, host=pool)


def records(ev: Evidence) -> Iterator[Finding]:
    """Check that what is in the records lies in the pools.

    A clone cannot be read without its image.
    """
    volumes = {pool: frozenset(held.volumes) for pool, held in ev.pools.items()}
    anywhere = frozenset(id for held in volumes.values() for id in held)
    clones: defaultdict[tuple[str, str], Counter[str]] = defaultdict(Counter)
    for volume in ev.all(Volume):
        if not volume.ready or volume.pool not in volumes or volume.id in ev.moving:
            continue
        if volume.id in volumes[volume.pool]:
            if volume.template is not None:
                clones[volume.pool, volume.template][volume.name] += 1
        elif volume.id not in anywhere:
            what = f"{volume.name} is to be in {ev.host_name(volume.pool)}, and is in no pool"
            yield NO_BYTES.found(volume.id, what, host=volume.pool)
    images = {pool: frozenset(held.templates) for pool, held in ev.pools.items()}
    for (pool, template), names in clones.items():
        if template not in images[pool] and template not in ev.moving:
            row = ev.get(Template, template)
            what = f"{row.name if row else template} is not in {ev.host_name(pool)}, where "
            what += f"{names.total()} volumes are clones of it"
            yield NO_IMAGE.found(template, what, host=pool)


CHECKS = (bytes_of, records)
