"""Which configuration the command line chose."""

from __future__ import annotations

import tomllib
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import click

from csnode.config import Config, environment
from csnode.faults import Invalid

PLACES = (Path("csnode.toml"), Path("/etc/csnode/csnode.toml"))


class Chosen:
    """The file, the flags and the environment, read when a command wants them."""

    def __init__(self, file: Path | None, flags: Mapping[str, Mapping[str, Any]]) -> None:
        self._file, self._flags = file, flags

    @property
    def file(self) -> Path | None:
        """--config, $CSNODE_CONFIG, ./csnode.toml, /etc/csnode/csnode.toml, or none."""
        if self._file is not None:
            return self._file
        if named := environment().get("CSNODE_CONFIG"):
            return Path(named)
        return next((place for place in PLACES if place.exists()), None)

    def config(self) -> Config:
        """Read and check the configuration. Raises Invalid, naming file, line, section and key."""
        from csnode.node import known_sections, role_types  # heavy, and --help needs none of it

        config = Config.read(self.file, self._flags, environment())
        config.check(known_sections())
        role_types(config.node.roles)
        return config


def setting(
    ctx: click.Context, option: click.Parameter, texts: Sequence[str]
) -> dict[str, dict[str, Any]]:
    """Return the --set flags by section. A value is TOML if it can be read so, else a text."""
    del ctx, option
    sections: dict[str, dict[str, Any]] = {}
    for text in texts:
        name, equals, value = text.partition("=")
        section, dot, key = name.strip().partition(".")
        if not (equals and dot and section and key):
            raise Invalid(f"--set {text}: expected SECTION.KEY=VALUE, as in api.listen=[::]:8080")
        sections.setdefault(section, {})[key] = _value(value.strip())
    return sections


def _value(text: str) -> Any:
    try:
        return tomllib.loads(f"value = {text}")["value"]
    except tomllib.TOMLDecodeError:
        return text
