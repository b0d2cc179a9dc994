"""Figures of benches: each time is told beside a loop that was timed in the same run."""

from __future__ import annotations

import pytest

from tests.bench.figure import HEADS, Figure, measured, table


@pytest.mark.parametrize(
    ("value", "unit", "loops"),
    [(50.0, "ms", 5.0), (2.0, "s", 200.0), (20.0, "/s", 5.0), (7.0, "%", None), (None, "s", None)],
)
def test_a_time_is_told_as_a_multiple_of_the_loop(
    value: float | None, unit: str, loops: float | None
) -> None:
    assert Figure(name="x", value=value, unit=unit, loop_ms=10.0).loops == loops


def test_a_figure_that_is_measured_has_its_loop_beside_it() -> None:
    figure = measured("deploy", 30.0, "ms", 20.0)
    assert figure.loop_ms > 0
    assert (figure.met, figure.cells[-1]) == ("NO", f"{30.0 / figure.loop_ms:.3g}")
    lines = table([figure]).splitlines()
    assert [line.split()[0] for line in lines] == [HEADS[0], "------", "deploy"]
    assert measured("x", 30.0, "/s", 20.0, best="high").met == "yes"
