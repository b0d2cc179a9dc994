"""The wire cannot change by accident: every shape that travels has its line in golden/wire.txt.

A changed line must be meant: fields are only appended, each with a default. Then write the file
anew with `python -m tests.contract.test_wire`, and say so under *Wire* in CHANGELOG.md.
"""

from __future__ import annotations

import hashlib
import importlib
import pkgutil
from pathlib import Path
from typing import Any

import msgspec
import pytest

import csnode.contracts
from csnode.bus import envelope
from csnode.bus.envelope import Answer, Cancel, Failure, Request
from csnode.bus.event import Changed, Entry, Event, Heads
from csnode.bus.service import Service, methods_of
from csnode.context import Context
from csnode.directory.beacon import Beacon, Seal
from csnode.directory.directory import Member, Serving
from csnode.model.machine import Disk, Domain
from csnode.types import Message, Struct, VmId

GOLDEN = Path(__file__).parent / "golden" / "wire.txt"
SINGLES: tuple[type[Message], ...] = (Request, Cancel, Answer, Failure, Context, Member, Beacon)


def contracts() -> list[type]:
    """Every contract in csnode.contracts."""
    modules = [
        importlib.import_module(f"csnode.contracts.{module.name}")
        for module in pkgutil.iter_modules(csnode.contracts.__path__)
    ]
    members = [member for module in modules for member in vars(module).values()]
    found = {m for m in members if isinstance(m, type) and Service in m.__bases__}
    return sorted(found, key=lambda contract: contract.__name__)


def shape(kind: Any) -> Any:
    """What goes over the wire for a type: names, order, kinds and defaults of its fields."""
    if isinstance(kind, msgspec.inspect.StructType):
        fields = [(f.encode_name, shape(f.type), f.required) for f in kind.fields]
        return [kind.cls.__name__, kind.tag, kind.array_like, fields]
    if isinstance(kind, msgspec.inspect.EnumType):
        return [kind.cls.__name__, [member.value for member in kind.cls]]
    if isinstance(kind, msgspec.inspect.Type):
        said = {name: getattr(kind, name) for name in kind.__struct_fields__}
        parts = {name: shape(value) for name, value in said.items() if value is not None}
        return [type(kind).__name__, parts]
    if isinstance(kind, tuple):
        return [shape(part) for part in kind]  # pyright: ignore[reportUnknownVariableType]
    return kind


def fingerprint(*kinds: Any) -> str:
    """Eight digits that change when what goes over the wire does."""
    shapes = [shape(msgspec.inspect.type_info(kind)) for kind in kinds]
    return hashlib.sha256(msgspec.json.encode(shapes)).hexdigest()[:8]


def lines() -> list[str]:
    calls = [
        f"call {method.name} {fingerprint(*method.arguments, method.answer)}"
        for contract in contracts()
        for method in methods_of(contract).values()
    ]
    events = [f"event {kind.__name__} {fingerprint(kind)}" for kind in (Changed, Heads)]
    singles = [f"message {kind.__name__} {fingerprint(kind)}" for kind in SINGLES]
    return calls + events + singles


def test_the_wire_is_as_recorded() -> None:
    assert lines() == GOLDEN.read_text().splitlines()


def test_every_event_of_the_kernel_is_recorded() -> None:
    ours = {kind for kind in Event.__subclasses__() if kind.__module__.startswith("csnode.")}
    assert {k for k in ours if not k.__module__.startswith("csnode.testing")} == {Changed, Heads}


def test_every_contract_is_recorded() -> None:
    named = "Compute Data Fabric Keeper Membership Networking Storage"
    assert [contract.__name__ for contract in contracts()] == named.split()


class Small(Message):
    number: int


class Grown(Message):
    number: int
    name: str = "by default"


class Renamed(Message):
    amount: int


class Turned(Message):
    name: str
    number: int


def test_a_fingerprint_sees_each_kind_of_change() -> None:
    kinds = (Small, Grown, Renamed, Turned, Struct, int, str, tuple[int, ...], tuple[int, int])
    assert len({fingerprint(kind) for kind in kinds}) == len(kinds)


def test_an_older_message_is_understood_and_so_is_a_newer_one() -> None:
    old, new = msgspec.msgpack.encode(Small(number=1)), msgspec.msgpack.encode(Grown(number=2))
    assert msgspec.msgpack.decode(old, type=Grown) == Grown(number=1, name="by default")
    assert msgspec.msgpack.decode(new, type=Small) == Small(number=2)


DOMAIN = Domain(
    vm=VmId("v"), name="i-1", title="t", cpus=1, cpu_mhz=500, memory_mib=64, disks=(), plugs=()
)
MEMBER = Member.__struct_fields__.index("health")


@pytest.mark.parametrize(
    ("message", "appended"),
    [
        (DOMAIN, 1),  # limit_cpu
        (Disk(volume="v", path="/p"), 2),  # type: ignore[reportArgumentType]
        (Context(), 2),
        (Serving(contract="Data"), 1),
        (
            Member(
                node="n",  # type: ignore[reportArgumentType]
                cluster="c",
                incarnation=1,
                number=1,
                host="h",
                roles=(),
                serves=(),
                calls="",
                events="",
            ),
            len(Member.__struct_fields__) - MEMBER,
        ),
    ],
)
def test_a_message_without_its_appended_fields_is_understood(
    message: Message, appended: int
) -> None:
    items = msgspec.msgpack.decode(msgspec.msgpack.encode(message))
    older = msgspec.msgpack.encode(items[:-appended])
    newer = msgspec.msgpack.encode([*items, "what we do not know yet"])
    assert msgspec.msgpack.decode(older, type=type(message)) == message
    assert msgspec.msgpack.decode(newer, type=type(message)) == message


def test_a_frame_of_an_older_or_newer_node_is_understood() -> None:
    request = Request(
        id=1,
        method="Data.head",
        at=None,
        remaining_ms=10,
        context=Context(trace="t"),
        arguments=msgspec.Raw(b"\x90"),
    )
    (items,) = msgspec.msgpack.decode(msgspec.msgpack.encode([request]))
    items[5] = items[5][:1]  # a context of a trace only
    (seen,) = envelope.asked(msgspec.msgpack.encode([[*items, "more"]]))
    assert isinstance(seen, Request)
    assert (seen.id, seen.context) == (1, Context(trace="t"))


def test_what_is_recorded_is_also_what_is_sent() -> None:
    """The bytes themselves, of one of each: a golden frame."""
    changed = Changed(
        kind="vm", before=1, entries=(Entry(number=2, id="v", revision=1, row=b"{}"),)
    )
    assert msgspec.msgpack.encode([changed]).hex() == (
        "9195a2766d01919402a17601c4027b7d0090"  # [["vm", 1, [[2, "v", 1, b"{}"]], 0, []]]
    )
    assert msgspec.msgpack.encode([Cancel(id=7)]).hex() == "91920207"
    seal = Seal("one")
    datagram = seal.packed(Beacon(says="who", beat=1))  # type: ignore[reportArgumentType]
    assert datagram.hex() == "01" + datagram[1:17].hex() + "94a377686f01c090"
    assert Seal("two").opened(datagram) is None
    assert seal.opened(datagram) is not None


if __name__ == "__main__":
    GOLDEN.parent.mkdir(exist_ok=True)
    GOLDEN.write_text("\n".join(lines()) + "\n")
