"""A lease as bytes: one sector, with a checksum.

A sector is what disks write whole or not at all, and it fits into one page and one NFS request, so
a reader finds one writing or the other. Should it find some of both all the same (a page that is
copied while it is written, a storage that broke), the checksum tells, and it keeps to what it read
before.
"""

from __future__ import annotations

import hashlib

import msgspec

from csnode.drivers.leasehold import HostLease

SECTOR = 512
MAGIC = b"csnode lease 1\n"
SUM = 16
_ROOM = SECTOR - len(MAGIC) - SUM - 2


def packed(lease: HostLease) -> bytes:
    """Pack exactly one sector."""
    body = msgspec.json.encode(lease)
    if len(body) > _ROOM:
        raise ValueError(f"a lease of {len(body)} bytes does not fit into a sector")
    rest = len(body).to_bytes(2) + body.ljust(_ROOM, b"\0")
    return MAGIC + hashlib.sha256(rest).digest()[:SUM] + rest


def unpacked(sector: bytes) -> HostLease | None:
    """Unpack a sector; None if it is not one whole writing."""
    head, rest = sector[: len(MAGIC) + SUM], sector[len(MAGIC) + SUM :]
    if len(sector) != SECTOR or head != MAGIC + hashlib.sha256(rest).digest()[:SUM]:
        return None
    try:
        return msgspec.json.decode(rest[2 : 2 + int.from_bytes(rest[:2])], type=HostLease)
    except msgspec.MsgspecError:
        return None
