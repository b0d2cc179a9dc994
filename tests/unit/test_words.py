"""States, actions and other words of the model: what rows and the wire have, and who names them."""

from __future__ import annotations

import ast
import importlib
import pkgutil
from collections.abc import Iterator
from enum import StrEnum
from pathlib import Path

import msgspec
import pytest

from csnode import model
from csnode.contracts.compute import Compute
from csnode.contracts.data import Data
from csnode.contracts.fabric import Fabric
from csnode.contracts.keeper import Keeper
from csnode.contracts.membership import Membership
from csnode.contracts.networking import Networking
from csnode.contracts.storage import Storage
from csnode.data.rows import encoded
from csnode.directory.directory import Served
from csnode.model.event import EventLevel, EventState
from csnode.model.host import Host, Maintenance, Seen
from csnode.model.identity import Standing
from csnode.model.ids import RangeOf
from csnode.model.job import Job, JobState
from csnode.model.network import NetworkState
from csnode.model.orders import Action, Order
from csnode.model.stock import RangeForm
from csnode.model.template import ImageFormat
from csnode.model.vm import VmState, Want
from csnode.model.volume import Volume, VolumeState, VolumeType
from csnode.saga.saga import sagas
from csnode.types import AccountId, ClusterId, DomainId, PodId, Power, ZoneId

ROOT = Path(__file__).parents[2]
SAID: dict[type[StrEnum], str] = {
    Want: "running stopped destroyed gone",
    Power: "on off absent",
    JobState: "waiting running unwinding done failed stuck",
    Seen: "Connecting Up Disconnected Alert Down",
    Maintenance: " preparing on failed",
    Standing: "enabled disabled locked",
    VmState: "Starting Running Stopping Stopped Migrating Destroyed Expunging Error",
    NetworkState: "Allocated Implementing Implemented Shutdown Destroy",
    VolumeState: "Allocated Creating Ready Expunging",
    VolumeType: "ROOT DATADISK",
    EventLevel: "INFO WARN ERROR",
    EventState: "Scheduled Started Completed",
    ImageFormat: "QCOW2 RAW",
    RangeForm: "number ipv4",
}
FREE = {
    ("csnode/cli/story.py", "Up"),  # of an answer of the API
    ("roles/api/checks.py", "enabled"),  # a parameter, which is no state
    ("roles/api/checks.py", "disabled"),
    ("roles/api/commands/offering.py", "enabled"),
    ("roles/data/postgres.py", "off"),  # a setting of the server
}


@pytest.mark.parametrize("words", SAID, ids=lambda words: words.__name__)
def test_words_are_said_as_they_always_were(words: type[StrEnum]) -> None:
    """A new word of a stored column is a new wire number: older processes cannot read such rows."""
    assert " ".join(words) == SAID[words]
    assert msgspec.json.decode(msgspec.json.encode([*words])) == SAID[words].split(" ")


def test_rows_keep_words_as_plain_text_and_leave_out_what_is_usual() -> None:
    of = {"account": AccountId("a"), "domain": DomainId("d"), "zone": ZoneId("z")}
    disk = Volume(id="v", name="data", type=VolumeType.DATA, **of)  # pyright: ignore[reportArgumentType]
    assert b'"type":"DATADISK"' in encoded(disk)
    root = Volume(id="v", name="root", type=VolumeType.ROOT, **of)  # pyright: ignore[reportArgumentType]
    assert b"type" not in encoded(root)
    host = Host(id="h", name="h", zone=ZoneId("z"), pod=PodId("p"), cluster=ClusterId("c"))
    assert b"maintenance" not in encoded(host)
    away = msgspec.structs.replace(host, maintenance=Maintenance.PREPARING)
    assert b'"maintenance":"preparing"' in encoded(away)
    assert msgspec.json.decode(encoded(away), type=Host) == away


def test_members_announce_contracts_by_the_names_of_their_classes() -> None:
    classes = (Data, Membership, Fabric, Compute, Networking, Storage, Keeper)
    assert {contract.__name__ for contract in classes} == {*Served}


def test_every_installed_saga_has_an_action_that_a_job_of_it_tells() -> None:
    for verb, saga in sagas().items():
        job = Job(id="j", verb=verb, order={})
        assert job.action in [*Action], f"{saga.__name__}: name it in csnode.model.orders.Action"
    assert {Job(id="j", verb=verb, order={}).action for verb in sagas()} == {*Action}
    assert issubclass(next(iter(sagas().values())).order_type, Order)


def words_of_the_model() -> set[str]:
    """Every value of every enum that the model declares, but for parts of ids (test_ids.py)."""
    found: set[str] = set()
    for module in pkgutil.iter_modules(model.__path__):
        held = vars(importlib.import_module(f"{model.__name__}.{module.name}")).values()
        enums = [each for each in held if isinstance(each, type) and issubclass(each, StrEnum)]
        found |= {word.value for each in enums if each is not RangeOf for word in each}
    return found - {""}


def literals_in(node: ast.expr) -> Iterator[str]:
    if isinstance(node, ast.Constant) and isinstance(node.value, str):
        yield node.value
    elif isinstance(node, ast.Tuple | ast.List | ast.Set):
        for each in node.elts:
            yield from literals_in(each)


def compared_in(source: str) -> Iterator[str]:
    """Every text that the source compares something with as it stands."""
    for node in ast.walk(ast.parse(source)):
        match node:
            case ast.Compare(left=left, comparators=others):
                for each in (left, *others):
                    yield from literals_in(each)
            case ast.MatchValue(value=value):
                yield from literals_in(value)
            case _:
                pass


def test_no_state_is_compared_with_a_bare_text() -> None:
    words = words_of_the_model()
    found = {
        (str(path.relative_to(ROOT)), text)
        for package in ("csnode", "roles")
        for path in (ROOT / package).rglob("*.py")
        for text in compared_in(path.read_text())
        if text in words
    }
    assert found == FREE, "compare with the member of the enum; FREE may only shrink"


@pytest.mark.parametrize(
    "bare",
    [
        'state == "Running"', 'vm.state not in ("Destroyed", "Expunging")',
        'job.state in {"stuck"}', '"preparing" != host.maintenance',
        'match action:\n    case "deploy" | "start":\n        pass',
    ],
)  # fmt: skip
def test_a_bare_text_that_is_compared_is_noticed(bare: str) -> None:
    assert set(compared_in(bare)) & words_of_the_model()
