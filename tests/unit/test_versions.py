"""Libraries run here in the versions of config/versions.txt: a new release breaks no build."""

from __future__ import annotations

import re
from importlib import metadata
from pathlib import Path

NAMED = Path(__file__).parents[2] / "config" / "versions.txt"
BROUGHT_BY_VENV = {"pip", "setuptools"}


def test_each_library_that_csnode_needs_is_named_with_the_version_that_is_installed() -> None:
    named = dict(line.split("==") for line in NAMED.read_text().splitlines() if line[0] != "#")
    named = {_plain(name): version for name, version in named.items()}
    needed = _needed("csnode", set()) - BROUGHT_BY_VENV
    installed = {name: metadata.version(name) for name in needed}
    assert {name: named.get(name) for name in installed} == installed


def _needed(name: str, known: set[str]) -> set[str]:
    """The installed libraries that one needs, those of its extras that are here included."""
    for requirement in metadata.requires(name) or []:
        needed = _plain(re.split(r"[^\w.-]", requirement)[0])
        if needed not in known and _is_installed(needed):
            known.add(needed)
            _needed(needed, known)
    return known


def _is_installed(name: str) -> bool:
    try:
        metadata.version(name)
    except metadata.PackageNotFoundError:
        return False
    return True


def _plain(name: str) -> str:
    """As PEP 503 compares names."""
    return re.sub(r"[-_.]+", "-", name).lower()
