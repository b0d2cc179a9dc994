"""Docstrings of functions begin with a verb: ruff D401 sees only some of those that do not."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
NO_VERBS = {
    "A", "All", "An", "And", "As", "At", "Both", "By", "Each", "Every", "False", "From", "How",
    "If", "In", "Into", "It", "Its", "None", "Nothing", "No", "Not", "Of", "On", "Once", "One",
    "Only", "Or", "Our", "Some", "Such", "That", "The", "Their", "Then", "There", "These",
    "They", "This", "Those", "To", "True", "Unless", "Until", "What", "When", "Where",
    "Whether", "Which", "Who", "Whose", "Why", "With",
}  # fmt: skip


def functions(tree: ast.AST) -> Iterator[tuple[str, str]]:
    """Yield name and docstring of each function; a property is named for what it is."""
    for node in ast.walk(tree):
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            marks = {ast.unparse(mark) for mark in node.decorator_list}
            said = ast.get_docstring(node)
            if said and not any("property" in mark for mark in marks):
                yield node.name, said


def begins_otherwise(source: str) -> list[str]:
    return [
        f"{name}: {said.splitlines()[0]}"
        for name, said in functions(ast.parse(source))
        if not name.startswith("test_") and said.split()[0].rstrip(",.;:") in NO_VERBS
    ]


@pytest.mark.parametrize("package", ["csnode", "roles"])
def test_no_docstring_of_a_function_begins_with_what_is_no_verb(package: str) -> None:
    found = [
        f"{file.relative_to(ROOT)} {line}"
        for file in sorted((ROOT / package).rglob("*.py"))
        for line in begins_otherwise(file.read_text())
    ]
    assert not found, "\n".join(found)


def test_a_docstring_that_begins_with_what_is_no_verb_is_found() -> None:
    wrong = 'def up():\n    """Whether it is."""\n'
    right = 'def up():\n    """Tell whether it is."""\n'
    named = 'class A:\n    @property\n    def up(self):\n        """Whether it is."""\n'
    assert begins_otherwise(wrong) == ["up: Whether it is."]
    assert begins_otherwise(right) == begins_otherwise(named) == []
