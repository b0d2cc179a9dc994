"""What decides about a stranger's image before any tool opens it: header, checksum, address."""

from __future__ import annotations

import asyncio
import io
import struct
import threading
from contextlib import suppress
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from csnode.faults import Refused
from roles.storage.drivers.checksum import begin, parse_checksum
from roles.storage.drivers.files import in_thread
from roles.storage.drivers.qcow2 import Header, check_template, read_header
from roles.storage.drivers.reach import is_public, open_local

CLUSTER = 1 << 16
SOUND = {
    "version": 3,
    "backing_at": 0,
    "backing_size": 0,
    "bits": 16,
    "size": 1 << 30,
    "encryption": 0,
    "l1_entries": 2,
    "l1_at": 3 * CLUSTER,
    "table_at": CLUSTER,
    "table_clusters": 1,
    "snapshots": 0,
    "features": 0,
    "order": 4,
    "length": 104,
}
FILE_SIZE = 10 * CLUSTER


def header_bytes(rest: bytes = b"", **changed: int) -> bytes:
    h = SOUND | changed
    return (
        b"QFI\xfb"
        + struct.pack(">IQII", h["version"], h["backing_at"], h["backing_size"], h["bits"])
        + struct.pack(">QIIQ", h["size"], h["encryption"], h["l1_entries"], h["l1_at"])
        + struct.pack(">QIIQ", h["table_at"], h["table_clusters"], h["snapshots"], 0)
        + struct.pack(">QQQII", h["features"], 0, 0, h["order"], h["length"])
        + (rest or bytes(64))
    )


def read(raw: bytes) -> Header:
    return read_header(io.BytesIO(raw))


def judge(raw: bytes, file_size: int = FILE_SIZE, size_max: int = 2 << 40) -> None:
    check_template(read(raw), file_size, size_max)


def test_a_sound_header_is_read_and_passes() -> None:
    header = read(header_bytes())
    assert (header.version, header.size, header.cluster) == (3, 1 << 30, CLUSTER)
    judge(header_bytes())
    judge(header_bytes(version=2))


def test_a_backing_file_is_found_by_name() -> None:
    raw = header_bytes(rest=bytes(8) + b"/etc/passwd", backing_at=112, backing_size=11)
    assert read(raw).backing == "/etc/passwd"


def extension(kind: int, body: bytes = b"") -> bytes:
    return struct.pack(">II", kind, len(body)) + body.ljust((len(body) + 7) // 8 * 8, b"\0")


NAMES = extension(0x6803F857, bytes(48))


@pytest.mark.parametrize(
    ("changed", "why"),
    [
        ({"backing_at": 4096, "backing_size": 5}, "backing file"),
        ({"backing_at": 1 << 60, "backing_size": 1 << 30}, "backing file"),
        ({"features": 4}, "external data file"),
        ({"snapshots": 1}, "internal snapshots"),
        ({"encryption": 2}, "encrypted"),
        ({"features": 1}, "not closed cleanly"),
        ({"features": 2}, "marked as corrupt"),
        ({"features": 32}, "not known"),
        ({"features": 1 << 63}, "not known"),
        ({"bits": 8}, "clusters of"),
        ({"bits": 0xFFFFFFFF}, "clusters of"),
        ({"size": 0}, "no size"),
        ({"size": 1 << 62}, "are allowed"),
        ({"size": (1 << 30) + 1}, "do not cover"),
        ({"features": 16}, "do not cover"),
        ({"l1_entries": 1 << 30}, "absurd"),
        ({"table_clusters": 1 << 20}, "absurd"),
        ({"order": 7}, "absurd"),
        ({"l1_at": 7}, "damaged"),
        ({"l1_at": 0}, "damaged"),
        ({"table_clusters": 0}, "damaged"),
        ({"l1_at": 1 << 40}, "cut short"),
        ({"table_at": 1 << 40}, "cut short"),
        ({"table_clusters": 100}, "cut short"),
    ],
)
def test_a_header_with_one_thing_wrong_is_refused(changed: dict[str, int], why: str) -> None:
    with pytest.raises(Refused, match=why):
        judge(header_bytes(b"", **changed))


@pytest.mark.parametrize(
    ("rest", "why"),
    [
        (extension(0x44415441, b"/etc/passwd"), "external data file"),
        (NAMES + extension(0x44415441, b"x"), "external data file"),
        (extension(0x0537BE77, bytes(16)), "encrypted"),
        (extension(1) * 100, "more header extensions"),
    ],
)
def test_extensions_are_looked_through(rest: bytes, why: str) -> None:
    with pytest.raises(Refused, match=why):
        judge(header_bytes(rest=rest + bytes(64)))


@pytest.mark.parametrize(
    ("raw", "why"),
    [
        (b"", "not QCOW2"),
        (b"QFI", "not QCOW2"),
        (b"QFI\xfb", "within its header"),
        (header_bytes()[:100], "within its header"),
        (header_bytes(version=4), "version 4"),
        (header_bytes(version=1), "version 1"),
        (b"<html>".ljust(200), "not QCOW2"),
    ],
)
def test_what_is_no_header_is_refused(raw: bytes, why: str) -> None:
    with pytest.raises(Refused, match=why):
        read(raw)


@given(st.binary(max_size=300), st.integers(0, 120), st.integers(0, 255))
def test_no_bytes_do_more_than_be_refused(noise: bytes, at: int, value: int) -> None:
    sound = bytearray(header_bytes(rest=noise + bytes(64)))
    sound[at] = value
    for raw in (bytes(sound), b"QFI\xfb\0\0\0\x03" + noise, noise):
        with suppress(Refused):
            judge(raw)


# -- checksums -----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("text", "algorithm"),
    [
        ("a" * 32, "MD5"),
        ("A" * 40, "SHA-1"),
        ("0" * 64, "SHA-256"),
        ("0" * 128, "SHA-512"),
        ("{MD5}" + "0" * 32, "MD5"),
        ("{sha-256}" + "0" * 64, "SHA-256"),
        (" {SHA-224}" + "0" * 56 + "\n", "SHA-224"),
    ],
)
def test_a_checksum_names_its_algorithm_or_shows_it_by_its_length(
    text: str, algorithm: str
) -> None:
    checksum = parse_checksum(text)
    assert checksum is not None
    assert checksum.algorithm == algorithm
    assert checksum.value == checksum.value.lower()
    assert len(begin(checksum).hexdigest()) == len(checksum.value)


@pytest.mark.parametrize("text", ["", " "])
def test_no_checksum_is_fine(text: str) -> None:
    assert parse_checksum(text) is None


@pytest.mark.parametrize(
    "text", ["{MD5}" + "0" * 64, "{}" + "0" * 32, "0" * 33, "g" * 32, "{CRC}12", "x" * 9999]
)
def test_a_checksum_that_says_nothing_is_refused(text: str) -> None:
    with pytest.raises(Refused, match="SHA-256"):
        parse_checksum(text)


# -- addresses and files -------------------------------------------------------------------------


@pytest.mark.parametrize(
    "address",
    [
        "127.0.0.1",
        "127.255.0.9",
        "0.0.0.0",
        "10.1.2.3",
        "172.16.0.1",
        "192.168.1.1",
        "169.254.169.254",
        "100.64.0.1",
        "192.0.2.7",
        "198.18.0.1",
        "224.0.0.1",
        "239.1.2.3",
        "240.0.0.1",
        "255.255.255.255",
        "::",
        "::1",
        "fe80::1%lo",
        "fc00::1",
        "fec0::1",
        "ff02::1",
        "2001:db8::1",
        "::ffff:127.0.0.1",
        "::ffff:169.254.169.254",
        "2002:7f00:1::",
        "2002:a9fe:a9fe::",
        "64:ff9b::a9fe:a9fe",
        "64:ff9b::7f00:1",
        "2001:0:7f00:1::1",
    ],
)
def test_addresses_of_the_house_are_not_public(address: str) -> None:
    assert not is_public(address)


@pytest.mark.parametrize(
    "address", ["8.8.8.8", "151.101.2.132", "2a04:4e42::644", "::ffff:8.8.8.8", "64:ff9b::808:808"]
)
def test_addresses_of_the_wide_internet_are_public(address: str) -> None:
    assert is_public(address)


@pytest.mark.parametrize("swapped", ["image", "folder"])
def test_a_link_put_in_place_of_what_was_judged_leads_nowhere(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, swapped: str
) -> None:
    """A name becomes a link between the judgement and the opening, as an attacker would."""
    root, outside = tmp_path / "images", tmp_path / "outside"
    for folder in (root / "folder", outside):
        folder.mkdir(parents=True)
        (folder / "image").write_text("text")
    judged = str(root / "folder/image")
    monkeypatch.setattr("os.path.realpath", str)  # what was true before the swap
    if swapped == "image":
        (root / "folder/image").unlink()
        (root / "folder/image").symlink_to(outside / "image")
    else:
        (root / "folder").rename(tmp_path / "moved")
        (root / "folder").symlink_to(outside)
    with pytest.raises(Refused):
        open_local(judged, [str(root)])


async def test_cancelled_file_work_is_waited_for() -> None:
    """Else a thread would write to a descriptor that is another file's by then."""
    begun, go_on, ended = threading.Event(), threading.Event(), threading.Event()

    def work() -> None:
        begun.set()
        go_on.wait(20)
        ended.set()

    working = asyncio.create_task(in_thread(work))
    await asyncio.to_thread(begun.wait, 20)
    working.cancel()
    done, _ = await asyncio.wait((working,), timeout=0.05)
    assert not done
    go_on.set()
    with pytest.raises(asyncio.CancelledError):
        await working
    assert ended.is_set()
