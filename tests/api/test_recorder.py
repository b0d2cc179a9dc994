"""What is made of a view is recorded read by read; what cannot be recorded is refused."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Annotated, Any, ClassVar

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from csnode.api.about import About
from csnode.api.dependencies import Dependencies
from csnode.api.recorder import KindReads, Recorder
from csnode.api.view import Shown
from csnode.data.view import View
from csnode.faults import Broken, NotFound
from csnode.model.entity import Entity
from csnode.model.host import Host
from csnode.model.job import Job
from csnode.model.offering import DiskOffering, OsType
from csnode.model.place import Zone
from csnode.model.stock import Lock
from csnode.model.vm import Vm
from roles.api.config import ApiConfig
from roles.api.views.vm import VmView
from tests.api import seeds
from tests.api.conftest import Desk, opened_desk
from tests.api.kept import FIRST, Shelves, changed, world


class Probe(Shown):
    """An answer that reads in each way there is, by what its own row says."""

    key: ClassVar[str] = "probe"
    of: ClassVar[type[Entity]] = DiskOffering

    text: Annotated[str, About("what it read")]

    @classmethod
    def made(cls, row: DiskOffering, view: View) -> Probe:
        one = view.maybe(OsType, row.display_text)
        some = sorted(each.name for each in view.by(OsType, "category", row.name))
        every = len(view.all(OsType)) if row.gib else ""
        return cls(text=f"{one.name if one else None} {some} {every}")

    @classmethod
    def hidden(cls, row: DiskOffering, view: View) -> bool:
        return bool(view.by(OsType, "name", row.name))


PROBES: list[Any] = [
    DiskOffering(id="one", name="q", display_text="b"),
    DiskOffering(id="some", name="x", display_text="nothing"),
    DiskOffering(id="every", name="q", display_text="nothing", gib=1),
    DiskOffering(id="all", name="y", display_text="a", gib=1),
]
Row = tuple[str, str, str]  # id, name and category of an OsType; without name it is deleted
STORY: list[Row] = [
    ("a", "n", "x"), ("b", "m", "p"), ("a", "n2", "x"), ("a", "n2", "y"), ("a", "x", "y"),
    ("b", "", ""), ("a", "", ""), ("b", "m", "x"),
]  # fmt: skip


async def told(desk: Desk, story: list[Row]) -> list[str]:
    """Commit one after the other, and name the answers that were old after some."""
    view = desk.api.view
    await desk.plant([row for row in PROBES if view.maybe(DiskOffering, row.id) is None])
    await view.fresh()
    shelves, old = Shelves(desk, [Probe]), list[str]()
    for id, name, category in story:
        change, held = desk.store.change(), view.maybe(OsType, id)
        if held is None and name:
            change.create(OsType(id=id, name=name, category=category))
        elif held is not None and name:
            change.update(OsType, id, name=name, category=category)
        elif held is not None:
            change.delete(OsType, id)
        await change.commit()
        await view.fresh()
        old += shelves.old()
    return old


async def test_an_answer_follows_rows_that_come_and_go_and_move(desk: Desk) -> None:
    assert await told(desk, STORY) == []


rows = st.tuples(
    st.sampled_from("abc"), st.sampled_from(["", "n", "q", "x"]), st.sampled_from("qxy")
)


@settings(max_examples=25)
@given(story=st.lists(rows, max_size=12))
def test_an_answer_is_never_old_whatever_happens(story: list[Row]) -> None:
    async def run() -> list[str]:
        async with opened_desk(ApiConfig(listen="")) as desk:
            return await told(desk, story)

    assert asyncio.run(run()) == []


def _note_nothing_of(method: str) -> Callable[[pytest.MonkeyPatch], None]:
    """Have the recorder forget one way of reading, and read as before."""

    def sabotage(patch: pytest.MonkeyPatch) -> None:
        whole = getattr(Recorder, method)

        def forgetful(self: Recorder, *args: Any) -> Any:
            noted = list(self.notes)
            found = whole(self, *args)
            self.notes = noted
            return found

        patch.setattr(Recorder, method, forgetful)

    return sabotage


def _note_no_absent(patch: pytest.MonkeyPatch) -> None:
    whole = Recorder.maybe

    def forgetful(self: Recorder, kind: Any, id: str | None) -> Any:
        noted = list(self.notes)
        found = whole(self, kind, id)
        self.notes = self.notes if found is not None else noted
        return found

    patch.setattr(Recorder, "maybe", forgetful)


def _note_no_columns(patch: pytest.MonkeyPatch) -> None:
    def nothing_matters(*_: Any) -> bool:
        return False

    patch.setattr(KindReads, "matters", nothing_matters)


@pytest.mark.parametrize(
    "sabotage",
    [
        pytest.param(_note_nothing_of("maybe"), id="rows"),
        pytest.param(_note_nothing_of("by"), id="indexes"),
        pytest.param(_note_nothing_of("all"), id="kinds"),
        pytest.param(_note_no_absent, id="absent"),
        pytest.param(_note_no_columns, id="columns"),
    ],
)
async def test_a_recorder_that_forgets_is_found_out(
    desk: Desk, monkeypatch: pytest.MonkeyPatch, sabotage: Callable[[pytest.MonkeyPatch], None]
) -> None:
    sabotage(monkeypatch)
    assert await told(desk, STORY)


async def test_nothing_is_kept_of_what_was_forgotten(desk: Desk) -> None:
    await desk.plant(world())
    view, stale = desk.api.view, list[str]()
    await view.fresh()
    reads = Dependencies(view, stale.append)
    for id in (FIRST, seeds.uuid(1_000_002)):
        row = view.get(Vm, id)
        reads.made(id, lambda given, row=row: VmView.made(row, given))
    once = len(reads)
    reads.made(id, lambda given: VmView.made(row, given))
    assert len(reads) == once > 10
    assert await changed(desk, view.get(Zone, seeds.ZONE), "name", "renamed")
    assert (set(stale), len(reads)) == ({FIRST, id}, 0)
    reads.made(id, lambda given: VmView.made(row, given))
    reads.forget(id)
    assert len(reads) == 0


async def test_what_was_read_before_counts_no_more(desk: Desk) -> None:
    view, stale = desk.api.view, list[str]()
    await view.fresh()
    reads = Dependencies(view, stale.append)
    for offering in (seeds.DISK, seeds.CUSTOM_DISK):
        reads.made("x", lambda given, it=offering: given.get(DiskOffering, it).name)
    assert await changed(desk, view.get(DiskOffering, seeds.DISK), "name", "renamed")
    assert stale == []
    assert await changed(desk, view.get(DiskOffering, seeds.CUSTOM_DISK), "name", "renamed too")
    assert stale == ["x"]


async def test_an_answer_that_reads_in_another_way_is_refused(desk: Desk) -> None:
    view = desk.api.view
    await view.fresh()
    host = view.get(Host, seeds.HOST)

    def in_a_set(given: Any) -> Any:
        return {given.get(Host, host.id)}

    reads = Dependencies(view, lambda _: None)
    wrong: list[tuple[Callable[[View], object], str]] = [
        (lambda given: given.size(Vm), "'size'"),
        (lambda given: given.get(Host, host.id) == host, "as a whole"),
        (lambda given: given.maybe(Lock, "x"), "'lock'"),
    ]
    for made, said in wrong:
        with pytest.raises(Broken, match=said):
            reads.made("x", made)
    with pytest.raises(TypeError):
        reads.made("x", lambda given: msgspec.json.encode(given.get(Host, host.id)))
    with pytest.raises(TypeError):
        reads.made("x", in_a_set)
    with pytest.raises(NotFound):
        reads.made("x", lambda given: given.get(Host, "nobody"))


async def test_a_row_that_is_read_looks_like_itself(desk: Desk) -> None:
    await desk.api.view.fresh()

    def look(view: Any) -> Any:
        host, job = view.get(Host, seeds.HOST), view.by(Job, "holds", "v")[0]
        return host.kind, isinstance(host, Host), host.tags, job.open, Host.writers()["seen"]

    await desk.plant([Job(id=seeds.uuid(972), verb="x", order={}, object_kind="vm", object_id="v")])
    await desk.api.view.fresh()
    found = Dependencies(desk.api.view, lambda _: None).made("x", look)
    assert found == ("host", True, (), True, "monitor")
