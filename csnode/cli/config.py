"""`csnode config show`: every setting as it is in force, and where it comes from."""

from __future__ import annotations

import json
import re
from typing import Any

import click
import msgspec

from csnode.cli import show
from csnode.cli.chosen import Chosen
from csnode.config import Config
from csnode.node import known_sections

SECRETS = ("secret_key", "admin_secret_key", "admin_password", "password", "fence_options")
_URL_PASSWORD = re.compile(r"(?<=://)([^/@]*:)[^/@]+(?=@)")


@click.group("config")
def command() -> None:
    """Show the configuration."""


@command.command("show")
@click.option("--origin", is_flag=True, help="Say where each value comes from.")
@click.option("--secrets", is_flag=True, help="Show secrets too.")
@show.output_option()
@click.pass_obj
def show_(chosen: Chosen, origin: bool, secrets: bool, output: str) -> None:
    """Print every setting in force, as a csnode.toml that says the same.

    With --origin each line ends with where its value comes from: a flag, a variable of the
    environment, a file, or the default.
    """
    config = chosen.config()
    values = {name: _section(config, name, secrets) for name in known_sections()}
    if output == "json":
        show.as_json(
            {n: {k: {"value": v, "origin": _origin(config, n, k)} for k, v in s.items()}
             for n, s in values.items()} if origin else values
        )  # fmt: skip
        return
    for name, section in values.items():
        print(f"[{name}]")
        for key, value in section.items():
            line = f"{key} = {toml(value)}"
            print(f"{line:<48} # {_origin(config, name, key)}" if origin else line)
        print()


def toml(value: Any) -> str:
    """Return a value as TOML writes it."""
    match value:
        case bool():
            return "true" if value else "false"
        case str():
            return json.dumps(value, ensure_ascii=False)  # JSON's strings are TOML's basic strings
        case list() | tuple():
            return f"[{', '.join(toml(v) for v in value)}]"  # pyright: ignore[reportUnknownVariableType]
        case dict():
            pairs = (f"{json.dumps(k)} = {toml(v)}" for k, v in value.items())  # pyright: ignore[reportUnknownVariableType, reportUnknownArgumentType]
            return f"{{ {', '.join(pairs)} }}" if value else "{}"
        case _:
            return str(value)


def _section(config: Config, name: str, secrets: bool) -> dict[str, Any]:
    section = config.section(name, known_sections()[name])
    values: dict[str, Any] = msgspec.to_builtins(section)
    if secrets:
        return values
    return {key: _hidden(key, value) for key, value in values.items()}


def _hidden(key: str, value: Any) -> Any:
    """Return the value, without what only its owner is to know; a URL without its password."""
    if key in SECRETS and value:
        return "(hidden)"
    return _URL_PASSWORD.sub(r"\1(hidden)", value) if isinstance(value, str) else value


def _origin(config: Config, name: str, key: str) -> str:
    return config.origins.get((name, key), "default")
