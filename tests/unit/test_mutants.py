"""The mistakes of tests.mutants: each is one edit, parses, and is the same for one seed."""

from __future__ import annotations

import ast
from pathlib import Path

import pytest

from tests.mutants.__main__ import chosen, tried
from tests.mutants.equivalent import EQUIVALENT
from tests.mutants.operators import Mutant, mutants
from tests.mutants.run import PASSED, ROOT, Copy
from tests.mutants.targets import TARGETS, Target, files_of
from tests.mutants.trial import Trial

SOURCE = b'''"""Text."""
import math


@decorated(3)
async def f(a: int, b=2, *, c: str = "x") -> bool:
    """More text."""
    log.info("said", a=1)
    if a < b and not c:
        await g(a, b)
        self.x = a + 1
    for n in [m for m in c if m]:
        continue
    while True:
        break
    if min(a, b) or (a) == (b):
        raise Invalid(f"{a + 1}")
    return a is not None
'''


def edits(operator: str) -> list[tuple[str, str]]:
    """What that kind of mistake makes of SOURCE: text before, and text after."""
    return [(SOURCE[m.start : m.end].decode(), m.after.strip())
            for m in mutants(SOURCE) if m.operator == operator]  # fmt: skip


TOLD = b"""
MANY = 5
A_S, B_S = 1.0, 2.0


def f(self):
    zip(a, b, strict=True)
    if a:
        log.info("said")
    if b:
        log.info("said")
        metrics.N.inc()
    else:
        self.x, self.y = 1, 2
    raise AssertionError("count never ends")
"""


def test_what_only_tells_or_is_never_come_to_is_left_alone() -> None:
    made = [(m.operator, TOLD[m.start : m.end].decode()) for m in mutants(TOLD)]
    assert made == [
        ("dropped call", "zip(a, b, strict=True)"), ("swapped arguments", "a, b"),
        ("negated condition", "b"), ("dropped assignment", "self.x, self.y = 1, 2"),
        ("constant", "1"), ("constant", "2"),
    ]  # fmt: skip


def test_each_kind_of_mistake_is_made_where_it_can_be() -> None:
    assert edits("comparison") == [
        (" < ", "<="), (" < ", ">="), (") == (", ") != ("), (" is not ", "is")]  # fmt: skip
    assert edits("and, or") == [(" and ", "or"), (" or ", "and")]
    assert edits("dropped not") == [("not c", "(c)")]
    assert edits("dropped call") == [("await g(a, b)", "pass")]
    assert edits("dropped assignment") == [("self.x = a + 1", "pass")]
    assert edits("swapped arguments") == [("a, b", "b, a")]
    assert edits("arithmetic") == [(" + ", "-")]
    assert edits("constant") == [("2", "(2 + 1)"), ("1", "(1 + 1)"), ("True", "False")]
    assert edits("other jump") == [("continue", "break"), ("break", "continue")]
    assert edits("other function") == [("min", "max")]
    assert edits("dropped condition") == [("m", "True")]
    assert edits("dropped raise") == [('raise Invalid(f"{a + 1}")', "pass")]
    assert edits("returned nothing") == [("return a is not None", "return None")]
    assert len(edits("negated condition")) == 2


@pytest.mark.parametrize("path", sorted({p for t in TARGETS for p in files_of(t)}))
def test_every_mistake_parses_and_is_one(path: str) -> None:
    source = (ROOT / path).read_bytes()
    made = mutants(source)
    assert len(made) > 0
    for mutant in made[:: max(1, len(made) // 20)]:
        text = mutant.of(source)
        assert text != source
        ast.parse(text)


def test_every_file_and_test_of_a_target_is_there() -> None:
    for target in TARGETS:
        for name in (*files_of(target), *target.tests):
            assert (ROOT / name.partition("::")[0]).exists(), name


def test_one_seed_chooses_the_same_and_another_others() -> None:
    one, again, other = (chosen([], seed, 20) for seed in (1, 1, 2))
    assert one == again
    assert one != other
    assert {trial.target.area for trial in one} == {target.area for target in TARGETS}


def test_what_is_called_equivalent_is_still_made() -> None:
    """Else the line has moved on, and says nothing."""
    for path in {each.path for each in EQUIVALENT}:
        source = (ROOT / path).read_bytes()
        target = next(t for t in TARGETS if path in files_of(t))
        keys = {Trial(target, path, source, mutant).key() for mutant in mutants(source)}
        for each in EQUIVALENT:
            assert each.path != path or each[:3] in keys, each


@pytest.mark.nightly
def test_a_mistake_is_noticed_and_none_is_not(tmp_path: Path) -> None:
    copy, path = Copy(tmp_path), "csnode/sweep.py"
    source, tests = (ROOT / path).read_bytes(), ("tests/unit/test_sweep.py",)
    assert copy.tried(tests, 120).what == PASSED
    with copy.with_text(path, source.replace(b"> FEW", b">= FEW - 1")):
        assert copy.tried(tests, 120).what == "killed"
    with copy.with_text(path, source.replace(b"moment = now()", b"while True: pass")):
        assert copy.tried(tests, 5).what == "timeout"
    assert copy.tried(tests, 120).what == PASSED


@pytest.mark.nightly
def test_mistakes_in_files_larger_than_a_pipe_holds_are_all_tried() -> None:
    """A runner that sent whole files waited for its worker, and its worker for the runner."""
    path = "csnode/uuids.py"
    source = (ROOT / path).read_bytes() + b"# " + b"x" * 200_000
    sample = [
        Trial(Target(area, (path,), ("tests/unit/test_sign.py",)), path, source,
              Mutant("none", n, 0, 0, ""))
        for n, area in enumerate("abc")
    ]  # fmt: skip
    found = tried(sample, 1)
    assert sorted(trial.mutant.line for trial, _ in found) == [0, 1, 2]
    assert {outcome.what for _, outcome in found} == {PASSED}
