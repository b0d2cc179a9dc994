"""`csnode doctor`: what this machine lacks for the configured roles, and how to get it."""

from __future__ import annotations

import click

from csnode.cli import ending, machine, show
from csnode.cli.chosen import Chosen


@click.command("doctor", short_help="What this machine lacks, and how to get it.")
@show.output_option()
@click.pass_context
def command(ctx: click.Context, output: str) -> None:
    """Examine this machine for the configured roles and drivers.

    Each line is something looked at: tools, rights, what the kernel can do, libvirtd, KVM,
    ports, folders; and where something is missing, how to get it. Exit code 69 if anything is.
    """
    chosen: Chosen = ctx.obj
    findings = machine.examine(chosen.config())
    if output == "json":
        show.as_json([{"part": f.part, "good": f.good, "lack": f.lack, "warn": f.warn,
                       "remedy": f.remedy} for f in findings])  # fmt: skip
    else:
        for finding in findings:
            mark = "[-]" if finding.lack else "[!]" if finding.warn else "[+]"
            print(f"{mark} {finding.part}: {finding.lack or finding.warn or finding.good}")
            if finding.remedy:
                print(f"      {finding.remedy}")
    ctx.exit(ending.UNAVAILABLE if any(f.lack for f in findings) else 0)
