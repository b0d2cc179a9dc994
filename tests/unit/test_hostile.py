"""What a hostile machine says is refused where it is read, and costs nobody else anything."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import msgspec
import pytest

from csnode.bus.envelope import MESSAGE_MAX, Failure, asked, codec_of, fault_of
from csnode.bus.service import methods_of
from csnode.cli.chain import hidden
from csnode.config import DirectoryConfig
from csnode.contracts.data import Data
from csnode.directory.beacon import SIGNED, Beacon, Says, Seal
from csnode.directory.directory import Member
from csnode.directory.static import TELL_MAX, TOLD_MAX, StaticDirectory
from csnode.faults import Denied, Invalid
from csnode.testing.trusted import Founded
from csnode.types import NodeId

DEEP = b"\x91" * 50_000 + b"\xc0"


@pytest.fixture
def seals(tmp_path: Path) -> tuple[Seal, Seal]:
    """Ours, and that of a machine that runs guests."""
    founded = Founded(tmp_path)
    own, host = founded.machine("box"), founded.machine("hv-1", ("compute",))
    return Seal("tests", own), Seal("tests", host)


def said(seal: Seal, **more: Any) -> bytes:
    assert seal._trust is not None
    member = Member(
        node=NodeId("hv-1/a"), cluster="tests", incarnation=1, number=1, host="hv-1", roles=(),
        serves=(), calls="", events="", key=seal._trust.keys.public,
    )  # fmt: skip
    changed = msgspec.structs.replace(member, **more)
    return seal.packed(Beacon(says=Says.HERE, beat=1, member=changed))


@pytest.mark.parametrize(
    "endpoint",
    [
        "tcp://slow.example.com:80",
        "inproc://zeromq.zap.01",
        "ipc:///run/libvirt/libvirt-sock",
        "tcp://0.0.0.0:80",
        "tcp://10.0.0.1:0;10.0.0.2:80",
        "tcp://10.0.0.1:99999",
        "tcp://10.0.0.1",
        "udp://10.0.0.1:80",
        "10.0.0.1:80",
    ],
)
@pytest.mark.parametrize("where", ["calls", "events"])
def test_an_endpoint_that_is_no_address_is_not_heard(
    seals: tuple[Seal, Seal], where: str, endpoint: str
) -> None:
    assert seals[0].opened(said(seals[1], **{where: endpoint})) is None


@pytest.mark.parametrize(
    "endpoint", ["tcp://10.0.0.1:80", "tcp://[fd00::1]:80", "tcp://[::ffff:10.0.0.1]:80", ""]
)
def test_an_address_is_heard(seals: tuple[Seal, Seal], endpoint: str) -> None:
    assert seals[0].opened(said(seals[1], calls=endpoint, events=endpoint)) is not None


def test_a_datagram_nested_too_deep_is_refused_like_any_other(seals: tuple[Seal, Seal]) -> None:
    good = said(seals[1])
    assert good[1:2] == b"\x93"
    longer = SIGNED + b"\x94" + good[2:] + DEEP  # as a later version's, with a field more
    assert seals[0].opened(longer) is None
    assert seals[0].refusals.count == 1


class Post:
    """Where datagrams go."""

    def __init__(self) -> None:
        self.to: list[Any] = []

    def send(self, datagram: bytes, to: Any) -> None:
        self.to.append(to)


@pytest.fixture
def static(seals: tuple[Seal, Seal]) -> StaticDirectory:
    made = StaticDirectory(DirectoryConfig(kind="static", interface="lo"), seals[0])
    made._post = Post()  # type: ignore[assignment]
    return made


async def test_only_addresses_that_others_tell_of_are_written_to(static: StaticDirectory) -> None:
    others = (("slow.example.com", 53), ("10.0.0.1", 99999), ("10.0.0.2", -1), ("10.0.0.3", 9),
              ("0.0.0.0", 9), ("fd00::1", 9))  # fmt: skip
    static._learn(Beacon(says=Says.HERE, beat=1, others=others))
    assert set(static._targets()) == {("10.0.0.3", 9), ("fd00::1", 9)}


async def test_no_beacon_makes_us_write_to_everybody(static: StaticDirectory) -> None:
    for block in range(200):
        others = tuple((f"10.{block}.{n // 250}.{n % 250 + 1}", 9) for n in range(1000))
        static._learn(Beacon(says=Says.HERE, beat=block, others=others))
        assert len(set(static._targets())) <= min(TOLD_MAX, TELL_MAX * (block + 1))


def test_requests_and_answers_nested_too_deep_are_no_bug_of_ours() -> None:
    head = b"\x91\x97\x01\x01\xa8Data.get\xc0\xcd\x10\x00\x93\xa0\xa0\x00"
    with pytest.raises(Invalid):
        asked(head + DEEP)
    find = methods_of(Data)["find"]
    with pytest.raises(Invalid):
        codec_of(find).arguments(msgspec.Raw(b"\x94\xa2vm\x81\xa1a" + DEEP + b"\xa0\x01"))


def failed(**more: Any) -> Failure:
    fields: dict[str, Any] = {
        "id": 1,
        "kind": "Denied",
        "message": "no",
        "detail": "",
        "code": 431,
        "cs": 4350,
    }
    return Failure(**(fields | more))


def test_a_faults_words_are_cut_and_obeyed_by_no_terminal() -> None:
    fault = fault_of(failed(message="x" * 10_000_000, detail="\x1b[2Jline\nline"))
    assert len(fault.message) == MESSAGE_MAX
    assert fault.detail == "?[2Jline\nline"


@pytest.mark.parametrize("code", [-1, 0, 200, 302, 600, 2**62])
def test_a_faults_code_is_one_of_a_fault(code: int) -> None:
    fault = fault_of(failed(code=code, cs=code if code > 9999 else -1))
    assert (fault.code, fault.cs) == (Denied.code, Denied.cs)
    assert fault_of(failed()).code == 431


def test_the_story_of_a_host_does_not_tell_how_it_is_fenced() -> None:
    assert "pw" not in str(hidden("fence_options", {"address": "pw"}))
