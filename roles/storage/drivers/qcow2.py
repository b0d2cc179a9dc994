"""What a QCOW2 header says, read by ourselves before any tool opens the file.

A template comes from a stranger, and a QCOW2 file may name other files of the host (a backing
file, an external data file) that a tool would open for him. So nothing but this module looks at
an image until it is known to stand alone. Source: docs/interop/qcow2.txt of QEMU 7.2.
"""

from __future__ import annotations

import struct
from typing import BinaryIO

from csnode.faults import Refused
from csnode.types import Struct

MAGIC = b"QFI\xfb"
_FIXED = struct.Struct(">4sIQIIQIIQQIIQ")  # version 2: 72 bytes
_MORE = struct.Struct(">QQQII")  # version 3: features, refcount order, header length
_EXTENSION = struct.Struct(">II")
DIRTY, CORRUPT, DATA_FILE, COMPRESSION, EXTENDED_L2 = 1, 2, 4, 8, 16
DATA_FILE_NAME, ENCRYPTION = 0x44415441, 0x0537BE77
BACKING_NAME_MAX = 1023
EXTENSIONS_MAX = 64
L1_BYTES_MAX = 32 << 20  # QEMU's own bound
REFCOUNT_TABLE_BYTES_MAX = 8 << 20


class Header(Struct):
    """The part of a header that we read; offsets and sizes in bytes."""

    version: int
    size: int  # as a machine sees it
    cluster_bits: int
    encryption: int
    l1_entries: int
    l1_offset: int
    refcount_offset: int
    refcount_clusters: int
    snapshots: int
    incompatible: int = 0
    refcount_order: int = 4
    backing: str = ""
    extensions: tuple[int, ...] = ()

    @property
    def cluster(self) -> int:
        return 1 << self.cluster_bits


def is_qcow2(start: bytes) -> bool:
    """Tell whether a file that starts so claims to be QCOW2."""
    return start.startswith(MAGIC)


def read_header(file: BinaryIO) -> Header:
    """Read the header of an open file. Raises Refused if it is none; judges nothing else."""
    file.seek(0)
    raw = file.read(_FIXED.size + _MORE.size)
    if not is_qcow2(raw):
        raise Refused("the image is not QCOW2: it does not begin with a QCOW2 header")
    if len(raw) < _FIXED.size + _MORE.size:
        raise Refused("the QCOW2 image ends within its header")
    fixed = _FIXED.unpack_from(raw)
    _, version, backing_at, backing_size, bits, size, encryption, entries, l1_at = fixed[:9]
    if version not in (2, 3):
        raise Refused(f"QCOW2 version {version} is not supported; versions 2 and 3 are")
    features, order, length = 0, 4, _FIXED.size
    if version == 3:
        features, _, _, order, length = _MORE.unpack_from(raw, _FIXED.size)
    return Header(
        version=version,
        size=size,
        cluster_bits=bits,
        encryption=encryption,
        l1_entries=entries,
        l1_offset=l1_at,
        refcount_offset=fixed[9],
        refcount_clusters=fixed[10],
        snapshots=fixed[11],
        incompatible=features,
        refcount_order=order,
        backing=_backing(file, backing_at, backing_size),
        extensions=_extensions(file, length, 1 << min(bits, 21)),
    )


def _backing(file: BinaryIO, at: int, size: int) -> str:
    """Read the name of the backing file; "" for none, "?" if it cannot be read."""
    if not at:
        return ""
    if size > BACKING_NAME_MAX or at > 1 << 21:
        return "?"
    file.seek(at)
    return file.read(size).decode(errors="replace") or "?"


def _extensions(file: BinaryIO, at: int, end: int) -> tuple[int, ...]:
    """Read the kinds of header extension; they end with kind 0, within the first cluster."""
    kinds: list[int] = []
    while at + _EXTENSION.size <= end:
        file.seek(at)
        raw = file.read(_EXTENSION.size)
        if len(raw) < _EXTENSION.size:
            break
        kind, length = _EXTENSION.unpack(raw)
        if kind == 0:
            break
        if len(kinds) == EXTENSIONS_MAX:
            raise Refused("the QCOW2 image has more header extensions than any tool writes")
        kinds.append(kind)
        at += _EXTENSION.size + (length + 7) // 8 * 8
    return tuple(kinds)


def check_template(header: Header, file_size: int, size_max: int) -> None:
    """Raise Refused, with the reason, unless the image stands alone and its sizes are sane."""
    for wrong, why in (*_strangers(header), *_sizes(header, file_size, size_max)):
        if wrong:
            raise Refused(f"the QCOW2 image {why}")


def _strangers(header: Header) -> tuple[tuple[bool, str], ...]:
    """Return what an image must not refer to or carry, and whether this one does."""
    has, extensions = header.incompatible, header.extensions
    data_file = bool(has & DATA_FILE) or DATA_FILE_NAME in extensions
    encrypted = header.encryption != 0 or ENCRYPTION in extensions
    known = DIRTY | CORRUPT | DATA_FILE | COMPRESSION | EXTENDED_L2
    return (
        (
            bool(header.backing),
            "has a backing file; a template must stand alone (qemu-img convert)",
        ),
        (data_file, "has an external data file; a template must stand alone (qemu-img convert)"),
        (header.snapshots > 0, "holds internal snapshots; remove them (qemu-img convert)"),
        (encrypted, "is encrypted; a template must not be"),
        (bool(has & DIRTY), "was not closed cleanly; repair it (qemu-img check -r all)"),
        (bool(has & CORRUPT), "is marked as corrupt"),
        (bool(has & ~known), f"uses features that are not known here ({has:#x})"),
    )


def _sizes(header: Header, file_size: int, size_max: int) -> tuple[tuple[bool, str], ...]:
    """Return what a header may not claim, and whether this one does.

    The first line guards the shifts in those after it.
    """
    if not 9 <= header.cluster_bits <= 21:
        return ((True, f"has clusters of 2^{header.cluster_bits} bytes; 2^9 to 2^21 are possible"),)
    cluster = header.cluster
    entry = 16 if header.incompatible & EXTENDED_L2 else 8
    needed = -(-header.size // (cluster * (cluster // entry)))
    l1, table = header.l1_entries * 8, header.refcount_clusters * cluster
    l1_end, table_end = header.l1_offset + l1, header.refcount_offset + table
    gib = size_max >> 30
    return (
        (header.size == 0, "has no size"),
        (header.size > size_max, f"is {header.size} bytes large; {gib} GiB are allowed"),
        (header.l1_entries < needed, "claims a size that its tables do not cover"),
        (l1 > L1_BYTES_MAX or table > REFCOUNT_TABLE_BYTES_MAX, "has tables of an absurd size"),
        (header.refcount_order > 6, "has reference counts of an absurd size"),
        (bool(header.l1_offset % cluster or header.refcount_offset % cluster), "is damaged"),
        (not (header.l1_offset and header.refcount_clusters), "is damaged"),
        (max(l1_end, header.refcount_offset + 1) > file_size, "is cut short"),
        (table_end > file_size + cluster, "is cut short"),
    )
