"""What a file is, by its first bytes, in the words that people know it by.

Only to say what is wrong with an image: whether one is used is decided by our own reading of its
header (qcow2.py). Sources: the formats' own documents, and magic(5).
"""

from __future__ import annotations

from csnode.model.template import ImageFormat
from csnode.types import Struct

HEAD = 64 << 10  # bytes that decide: the farthest sign, of ISO 9660, begins at 32769


class Kind(Struct):
    """One kind of file: what it is called, and where it shows which bytes."""

    name: str
    at: int
    sign: bytes


_COMPRESSED = (
    Kind(name="gzip", at=0, sign=b"\x1f\x8b"),
    Kind(name="bzip2", at=0, sign=b"BZh"),
    Kind(name="xz", at=0, sign=b"\xfd7zXZ\x00"),
    Kind(name="zstd", at=0, sign=b"(\xb5/\xfd"),
    Kind(name="lz4", at=0, sign=b"\x04\x22\x4d\x18"),
    Kind(name="lzop", at=0, sign=b"\x89LZO\x00\r\n\x1a\n"),
    Kind(name="zip", at=0, sign=b"PK\x03\x04"),
    Kind(name="7-Zip", at=0, sign=b"7z\xbc\xaf\x27\x1c"),
    Kind(name="RAR", at=0, sign=b"Rar!\x1a\x07"),
)
_IMAGES = (
    Kind(name="VDI", at=64, sign=b"\x7f\x10\xda\xbe"),
    Kind(name="VDI", at=0, sign=b"<<< Oracle VM VirtualBox Disk Image >>>"),
    Kind(name="VDI", at=0, sign=b"<<< Sun VirtualBox Disk Image >>>"),
    Kind(name="VDI", at=0, sign=b"<<< Sun xVM VirtualBox Disk Image >>>"),
    Kind(name="VDI", at=0, sign=b"<<< innotek VirtualBox Disk Image >>>"),
    Kind(name="VMDK", at=0, sign=b"KDMV"),
    Kind(name="VMDK", at=0, sign=b"COWD"),
    Kind(name="VMDK", at=0, sign=b"# Disk DescriptorFile"),
    Kind(name="VHDX", at=0, sign=b"vhdxfile"),
    Kind(name="VHD", at=0, sign=b"conectix"),
    Kind(name="QED", at=0, sign=b"QED\x00"),
    Kind(name="Parallels", at=0, sign=b"WithoutFreeSpace"),
    Kind(name="Parallels", at=0, sign=b"WithouFreSpacExt"),
    Kind(name="Bochs", at=0, sign=b"Bochs Virtual HD Image"),
    Kind(name="an OVA or another tar archive", at=257, sign=b"ustar"),
)
_BYTES = (  # what may stand on a disk as it is
    Kind(name="an ISO 9660 image", at=32769, sign=b"CD001"),
    Kind(name="a LUKS volume", at=0, sign=b"LUKS\xba\xbe"),
    Kind(name="a squashfs", at=0, sign=b"hsqs"),
    Kind(name="a raw disk; register it as RAW", at=510, sign=b"\x55\xaa"),
)
_TEXTS = ((b"<!doctype html", "a web page"), (b"<html", "a web page"), (b"<", "an XML document"))
_QCOW2 = Kind(name="QCOW2", at=0, sign=b"QFI\xfb")


def refusal(format: str, head: bytes) -> str:
    """Return why a file that begins so is no QCOW2 or RAW image, as asked; "" if it may be.

    `head` is its first HEAD bytes, or all of a shorter file.
    """
    if name := _found(_COMPRESSED, head):
        return f"the image is compressed ({name}); give the URL of the image itself"
    qcow2 = _found((_QCOW2,), head)
    other = "" if qcow2 else _found(_IMAGES, head)
    if format == ImageFormat.RAW:
        if name := qcow2 or other:
            return f"the image is {name}, and was registered as RAW"
        if text := _text(head):
            return f"the URL leads to {text}, not to a RAW image"
        return ""
    if qcow2:
        return ""
    if not other and (text := _text(head)):
        return f"the URL leads to {text}, not to a QCOW2 image"
    what = other or _found(_BYTES, head)
    return f"the image is not QCOW2: {f'it is {what}' if what else NO_HEADER}"


NO_HEADER = "it does not begin with a QCOW2 header"


def _found(kinds: tuple[Kind, ...], head: bytes) -> str:
    return next((k.name for k in kinds if head.startswith(k.sign, k.at)), "")


def _text(head: bytes) -> str:
    """Name what servers send in an image's place; empty if it is no text of that kind."""
    start = head[:512].removeprefix(b"\xef\xbb\xbf").lstrip().lower()
    return next((name for sign, name in _TEXTS if start.startswith(sign)), "")
