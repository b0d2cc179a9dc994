"""What a file that is no image of the format is called, however it is cut into pieces."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from csnode.faults import Refused
from roles.storage.drivers.formats import HEAD, refusal
from roles.storage.drivers.sink import Sink

VDI = b"<<< Oracle VM VirtualBox Disk Image >>>\n".ljust(64, b"\0") + b"\x7f\x10\xda\xbe"
FILES = {
    "VDI": VDI,
    "VDI ": b"<<< QEMU VM Virtual Disk Image >>>\n".ljust(64, b"\0") + b"\x7f\x10\xda\xbe",
    "VMDK": b"KDMV\1\0\0\0",
    "VMDK ": b"# Disk DescriptorFile\nversion=1\n",
    "VHDX": b"vhdxfile",
    "VHD": b"conectix",
    "QED": b"QED\0",
    "Parallels": b"WithoutFreeSpace",
    "Bochs": b"Bochs Virtual HD Image",
    "tar archive": bytes(257) + b"ustar\0",
    "gzip": b"\x1f\x8b\x08",
    "bzip2": b"BZh9",
    "xz": b"\xfd7zXZ\0",
    "zstd": b"(\xb5/\xfd",
    "lz4": b"\x04\x22\x4d\x18",
    "zip": b"PK\3\4",
    "7-Zip": b"7z\xbc\xaf\x27\x1c",
    "RAR": b"Rar!\x1a\x07\0",
    "web page": b"\n<!DOCTYPE html><html>",
    "web page ": b"\xef\xbb\xbf<HTML>",
    "XML document": b"<?xml version='1.0'?><Error><Code>AccessDenied</Code></Error>",
}
DISKS = {
    "ISO 9660": bytes(32769) + b"CD001",
    "LUKS": b"LUKS\xba\xbe",
    "squashfs": b"hsqs",
    "raw disk; register it as RAW": bytes(510) + b"\x55\xaa",
}


@pytest.mark.parametrize("name", FILES)
@pytest.mark.parametrize("format", ["QCOW2", "RAW"])
def test_each_kind_of_file_is_called_by_its_name(name: str, format: str) -> None:
    said = refusal(format, FILES[name] + bytes(100))
    assert name.strip() in said
    assert ("web page" in said) == ("web page" in name)


@pytest.mark.parametrize("name", DISKS)
def test_what_stands_on_a_disk_as_it_is_may_be_raw_and_is_named_if_not(name: str) -> None:
    assert name in refusal("QCOW2", DISKS[name])
    assert refusal("RAW", DISKS[name]) == ""


def test_an_image_of_the_format_is_not_refused_for_its_start() -> None:
    assert refusal("QCOW2", b"QFI\xfb" + bytes(60)) == ""
    assert refusal("RAW", bytes(HEAD)) == ""
    assert "registered as RAW" in refusal("RAW", b"QFI\xfb")
    assert "does not begin with a QCOW2 header" in refusal("QCOW2", b"hello")


@given(
    st.sampled_from([*FILES.values(), *DISKS.values(), b"QFI\xfb" + bytes(99), b"QF", b"<"]),
    st.sampled_from(["QCOW2", "RAW"]),
    st.lists(st.integers(1, 40), min_size=1, max_size=8),
    st.booleans(),
)
def test_pieces_of_any_size_get_the_same_word(
    tmp_path_factory: pytest.TempPathFactory, file: bytes, format: str, sizes: list[int], long: bool
) -> None:
    whole = file + bytes(HEAD if long else 0)
    at = tmp_path_factory.mktemp("sink") / "image"
    assert written(at, format, whole, sizes) == refusal(format, whole[:HEAD])


def written(at: Path, format: str, whole: bytes, sizes: list[int]) -> str:
    """What a sink says of the bytes, whose first pieces have those sizes; empty: nothing."""
    sink = Sink(at, format, None, 1 << 30)
    try:
        for size in sizes:
            sink.add(whole[:size])
            whole = whole[size:]
        if whole:
            sink.add(whole)
        sink.finish()
    except Refused as refused:
        return refused.message
    finally:
        sink.close()
    return ""
