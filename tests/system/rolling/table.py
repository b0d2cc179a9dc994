"""A report in words and figures."""

from __future__ import annotations

from tests.system.rolling.run import Report

SHOWN = 12


def table(report: Report) -> str:
    """For people."""
    lines = [f"{'process':16}{'as':>10}{'took s':>9}{'away s':>9}{'calls':>8}{'slowest s':>11}"]
    lines += [
        f"{t.process:16}{t.version[:9]:>10}{t.took_s:9.2f}{t.away_s:9.2f}"
        f"{t.requests:8}{t.slowest_s:11.2f}"
        for t in report.turns
    ]
    lines += [
        f"{report.requests} calls in {report.seconds:.0f} s ({report.per_s:.0f}/s): "
        f"{len(report.failed)} failed; median {report.median_s * 1000:.0f} ms, "
        f"slowest {report.slowest_s:.2f} s ({report.slowest})",
        f"{report.accepted} jobs accepted, {report.ended} ended, "
        f"failed for these reasons: {', '.join(report.failed_jobs) or 'none'}",
        f"judge: {len(report.findings)} findings; verify: {report.verify}",
    ]
    for what in (report.failed, report.findings, report.fallen):
        lines += [f"  {line}" for line in what[:SHOWN]]
    for process, errors in report.errors.items():
        lines += [f"  {process} logged {len(errors)} errors, the first: {errors[0][:600]}"]
    return "\n".join(lines)
