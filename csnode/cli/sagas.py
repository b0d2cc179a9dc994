"""`csnode sagas`: what is done for an order, step by step."""

from __future__ import annotations

from typing import Any

import click

from csnode.cli import show
from csnode.saga.saga import Saga, Step, sagas


@click.command("sagas", short_help="The sagas: steps, and what undoes them.")
@show.output_option()
def command(output: str) -> None:
    """List the sagas: their steps in order, and what undoes each if a later one fails."""
    if output == "json":
        show.as_json({verb: [_step(s) for s in saga.steps()] for verb, saga in sagas().items()})
        return
    for verb, saga in sagas().items():
        rows = [tuple(_step(s).values()) for s in saga.steps()]
        show.table(f"{verb}: {_says(saga)}", ("step", "undone by", "does"), rows)
        print()


def _step(step: Step[Any]) -> dict[str, str]:
    return {
        "step": step.name,
        "undo": step.undoing.__name__ if step.undoing else "",
        "does": (step.__doc__ or "").strip().partition("\n")[0],
    }


def _says(saga: type[Saga[Any]]) -> str:
    return (saga.__doc__ or "").strip().partition("\n")[0]
