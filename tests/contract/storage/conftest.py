"""A web server with images, and a pool that may fetch from it."""

from __future__ import annotations

from collections.abc import AsyncGenerator
from pathlib import Path
from typing import Any

import pytest

from roles.storage.drivers.dir import DirStorage
from tests.contract.storage import source as images
from tests.contract.storage.source import Source, seat


@pytest.fixture(scope="session")
def good(tmp_path_factory: pytest.TempPathFactory) -> bytes:
    return images.make_good(tmp_path_factory.mktemp("good"))


@pytest.fixture
async def source(good: bytes) -> AsyncGenerator[Source]:
    source = Source()
    source.files |= {"good": good, "raw": images.raw_bytes()}
    async with source.server:
        yield source
        source.go_on.set()


@pytest.fixture
async def pool(tmp_path: Path) -> AsyncGenerator[DirStorage]:
    options: dict[str, Any] = {"allow_private": True, "stall_seconds": 5.0}
    async with DirStorage(options, seat(tmp_path / "pool")) as driver:
        yield driver
