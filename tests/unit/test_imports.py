"""The walls between modules, and that no module needs another to be imported first."""

from __future__ import annotations

import ast
import subprocess
import sys
from graphlib import CycleError, TopologicalSorter
from pathlib import Path

import grimp
import pytest

ROOT = Path(__file__).parents[2]
CROWDED_MAX = 19  # classes beyond the limits; the number may only shrink
LONG_FOR_A_REASON = {"roles/api/views/vm.py:made"}  # DECISIONS.md 19; the list may only shrink


def test_every_import_contract_holds() -> None:
    lint = Path(sys.executable).with_name("lint-imports")
    done = subprocess.run(
        [lint, "--no-cache"], cwd=ROOT, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stdout + done.stderr


def test_no_import_goes_round_in_a_circle() -> None:
    """Neither one inside a function nor one under TYPE_CHECKING does: graphs have them all."""
    graph = grimp.build_graph("csnode", "roles", cache_dir=None)
    imports = {name: graph.find_modules_directly_imported_by(name) for name in graph.modules}
    circle: list[str] = []
    try:
        TopologicalSorter(imports).prepare()
    except CycleError as error:
        circle = error.args[1]
    assert circle == []


def test_no_package_imports_anything_by_itself() -> None:
    """Or a circle could go through the package of a module, which no import statement names."""
    packages = [p for top in ("csnode", "roles") for p in (ROOT / top).rglob("__init__.py")]
    importing = [
        str(path.relative_to(ROOT))
        for path in packages
        for node in ast.walk(ast.parse(path.read_text()))
        if isinstance(node, ast.Import | ast.ImportFrom) and node_names(node) != ["annotations"]
    ]
    assert packages
    assert importing == []


def node_names(node: ast.Import | ast.ImportFrom) -> list[str]:
    return [alias.name for alias in node.names]


@pytest.mark.nightly  # it follows from the two tests above
def test_every_module_can_be_imported_first() -> None:
    modules = [
        ".".join(path.relative_to(ROOT).with_suffix("").parts).removesuffix(".__init__")
        for package in ("csnode", "roles")
        for path in sorted((ROOT / package).rglob("*.py"))
        if path.name != "__main__.py" and "migrations" not in path.parts
    ]
    # One interpreter that forgets our modules between imports is much quicker than hundreds.
    script = (
        "import sys, importlib\n"
        "for name in sys.argv[1:]:\n"
        "    for known in [m for m in sys.modules if m.split('.')[0] in ('csnode', 'roles')]:\n"
        "        if known != 'csnode.metrics': del sys.modules[known]\n"
        "    importlib.import_module(name)\n"
    )
    done = subprocess.run(
        [sys.executable, "-W", "ignore", "-c", script, *modules],
        cwd=ROOT, capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr


def test_no_file_is_longer_than_400_lines() -> None:
    long = {
        str(path.relative_to(ROOT)): lines
        for package in ("csnode", "roles")
        for path in (ROOT / package).rglob("*.py")
        if (lines := len(path.read_text().splitlines())) > 400
    }
    assert long == {}


def test_no_function_is_longer_than_50_lines() -> None:
    long = {
        f"{path.relative_to(ROOT)}:{node.name}": node.end_lineno - node.lineno + 1
        for package in ("csnode", "roles")
        for path in (ROOT / package).rglob("*.py")
        for node in ast.walk(ast.parse(path.read_text()))
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef)
        and node.end_lineno is not None
        and node.end_lineno - node.lineno >= 50
    }
    assert set(long) == LONG_FOR_A_REASON


def test_no_more_classes_than_before_have_over_12_attributes_or_over_20_methods() -> None:
    """Files that stay short by paring names hide a class that does too much."""
    crowded = {
        f"{path.relative_to(ROOT)}:{node.name}": (attributes, methods)
        for package in ("csnode", "roles")
        for path in (ROOT / package).rglob("*.py")
        for node in ast.walk(ast.parse(path.read_text()))
        if isinstance(node, ast.ClassDef)
        and ((attributes := len(_set_by(node))) > 12) | ((methods := len(_methods(node))) > 20)
    }
    assert len(crowded) <= CROWDED_MAX, crowded


def _methods(node: ast.ClassDef) -> list[ast.FunctionDef | ast.AsyncFunctionDef]:
    """Its methods; the tests of a suite are not counted, for they are rules side by side."""
    found = [m for m in node.body if isinstance(m, ast.FunctionDef | ast.AsyncFunctionDef)]
    return [method for method in found if not method.name.startswith("test_")]


def _set_by(node: ast.ClassDef) -> set[str]:
    """The attributes that its methods set."""
    return {
        part.attr
        for method in _methods(node)
        for part in ast.walk(method)
        if isinstance(part, ast.Attribute)
        and isinstance(part.ctx, ast.Store)
        and isinstance(part.value, ast.Name)
        and part.value.id == "self"
    }
