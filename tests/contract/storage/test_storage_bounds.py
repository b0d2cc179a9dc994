"""A tool that an image drives past its bounds: the image is refused for good, and not fetched.

The tool here is a harmless script that prints without end, or is killed.
"""

from __future__ import annotations

import tempfile
from collections.abc import Generator
from pathlib import Path
from typing import Any

import pytest

from csnode.faults import Refused, Unavailable
from csnode.testing.storage import ignore
from roles.storage.drivers import qemu_img
from roles.storage.drivers.dir import DirStorage
from roles.storage.drivers.refusals import MARK
from tests.contract.storage.source import Source, seat

REAL = qemu_img.tool()


@pytest.fixture
def tool(monkeypatch: pytest.MonkeyPatch) -> Generator[Path]:
    """What `qemu-img check` does is up to the test; the rest is as ever."""
    with tempfile.TemporaryDirectory(dir="/tmp") as folder:
        Path(folder).chmod(0o755)  # nobody runs it
        script = Path(folder) / "qemu-img"
        monkeypatch.setattr(qemu_img, "tool", lambda: str(script))
        yield script


def checks_by(tool: Path, act: str) -> None:
    tool.write_text(f'#!/bin/sh\n[ "$1" = check ] || exec {REAL} "$@"\n{act}\n')
    tool.chmod(0o755)


@pytest.mark.parametrize(
    ("act", "why"),
    [
        ("exec yes damaged >&2", "printed more than"),
        ("echo 'Cannot allocate memory' >&2; exit 1", "more than 1024 MiB of memory"),
    ],
)
async def test_an_image_that_passes_a_bound_is_refused_for_good(
    pool: DirStorage, source: Source, tool: Path, act: str, why: str
) -> None:
    checks_by(tool, act)
    image = source.image("good")
    with pytest.raises(Refused, match=why):
        await pool.ensure_image(image, ignore)
    checks_by(tool, "exit 0")
    with pytest.raises(Refused, match=why):
        await pool.ensure_image(image, ignore)
    assert source.asked["/good"] == 1
    await pool.ensure_image(source.image("good"), ignore)  # another template of it may be tried
    await pool.ensure_no_image(image.template)
    await pool.ensure_image(image, ignore)


async def test_an_image_whose_examination_was_killed_once_is_tried_again(
    pool: DirStorage, source: Source, tool: Path
) -> None:
    """It may be innocent: its guests took the memory, or an operator ended it."""
    image = source.image("good")
    for signal in ("KILL", "TERM"):
        checks_by(tool, f"kill -{signal} $$")
        with pytest.raises(Unavailable, match="qemu-img was"):
            await pool.ensure_image(image, ignore)
    checks_by(tool, "exit 0")
    await pool.ensure_image(image, ignore)
    await pool.ensure_no_image(image.template)
    checks_by(tool, "kill -KILL $$")
    with pytest.raises(Unavailable):  # what went well since has put it right
        await pool.ensure_image(image, ignore)


async def test_an_image_whose_examination_was_killed_twice_is_refused_for_good(
    pool: DirStorage, source: Source, tool: Path
) -> None:
    checks_by(tool, "kill -KILL $$")
    image = source.image("good")
    with pytest.raises(Unavailable):
        await pool.ensure_image(image, ignore)
    checks_by(tool, "exit 2")
    with pytest.raises(Refused, match="damaged"):  # which says nothing of what killed it
        await pool.ensure_image(image, ignore)
    checks_by(tool, "kill -KILL $$")
    with pytest.raises(Refused, match="killed twice"):
        await pool.ensure_image(image, ignore)
    checks_by(tool, "exit 0")
    with pytest.raises(Refused, match="killed twice"):
        await pool.ensure_image(image, ignore)
    assert source.asked["/good"] == 3
    await pool.ensure_no_image(image.template)
    await pool.ensure_image(image, ignore)


async def test_an_image_that_is_only_damaged_may_be_mended_at_its_place(
    pool: DirStorage, source: Source, tool: Path
) -> None:
    checks_by(tool, "exit 2")
    image = source.image("good")
    with pytest.raises(Refused, match="damaged"):
        await pool.ensure_image(image, ignore)
    checks_by(tool, "exit 0")
    await pool.ensure_image(image, ignore)


async def test_an_image_that_ended_csnode_twice_is_not_fetched_by_the_next(
    tmp_path: Path, source: Source
) -> None:
    options: dict[str, Any] = {"allow_private": True}
    image = source.image("good")
    async with DirStorage(options, seat(tmp_path / "pool")):
        pass
    mark = tmp_path / "pool" / "tmp" / f"{image.template}{MARK}"
    for _ in range(2):
        mark.touch()  # as a kill -9 leaves it
        async with DirStorage(options, seat(tmp_path / "pool")):
            pass
    for _ in range(2):
        async with DirStorage(options, seat(tmp_path / "pool")) as driver:
            with pytest.raises(Refused, match="killed twice while it was examined"):
                await driver.ensure_image(image, ignore)
    assert not source.asked


async def test_an_image_at_which_csnode_was_killed_once_is_tried_again(
    tmp_path: Path, source: Source
) -> None:
    options: dict[str, Any] = {"allow_private": True}
    image = source.image("good")
    async with DirStorage(options, seat(tmp_path / "pool")):
        pass
    (tmp_path / "pool" / "tmp" / f"{image.template}{MARK}").touch()  # as a power cut leaves it
    for _ in range(3):  # further starts are no deaths
        async with DirStorage(options, seat(tmp_path / "pool")):
            pass
    async with DirStorage(options, seat(tmp_path / "pool")) as driver:
        await driver.ensure_image(image, ignore)
