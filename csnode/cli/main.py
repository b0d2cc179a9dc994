"""`csnode`: without a subcommand it plays the roles; every subcommand is a file beside this one.

Whatever goes wrong is told in one line on standard error, with an exit code of sysexits(3).
"""

from __future__ import annotations

import sys
from importlib import import_module
from pathlib import Path
from typing import Any

import click

from csnode import __version__
from csnode.cli import ending
from csnode.cli.chosen import Chosen, setting

SUBCOMMANDS = (
    "check", "roles", "apis", "sagas", "config", "doctor", "status", "top", "verify", "why", "job",
    "sim", "demo", "cluster", "token", "join", "node", "data",
)  # fmt: skip


class Subcommands(click.Group):
    """Imports a subcommand's file when it is asked for: `csnode --roles data` needs none."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        del ctx
        return list(SUBCOMMANDS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        del ctx
        if cmd_name not in SUBCOMMANDS:
            return None
        found: click.Command = import_module(f"csnode.cli.{cmd_name}").command
        return found


@click.command(cls=Subcommands, invoke_without_command=True)
@click.option(
    "--roles",
    metavar="ROLE,...",
    help="Roles to play, separated by commas; all installed ones if left out.",
)
@click.option(
    "--config",
    "file",
    metavar="FILE",
    type=click.Path(path_type=Path),
    help="Configuration; else $CSNODE_CONFIG, ./csnode.toml or /etc/csnode/csnode.toml.",
)
@click.option(
    "--set",
    "settings",
    metavar="SECTION.KEY=VALUE",
    multiple=True,
    callback=setting,
    help="One setting, stronger than file and environment; may be repeated.",
)
@click.version_option(__version__, prog_name="csnode")
@click.pass_context
def cli(
    ctx: click.Context, roles: str | None, file: Path | None, settings: dict[str, dict[str, Any]]
) -> None:
    """Play roles of a csnode cloud in this process, until SIGTERM or Ctrl-C.

    csnode alone plays every role: a whole cloud on one machine. Processes that share a cluster
    name find each other, so the same roles may as well be spread over many:

    \b
      csnode                                all roles
      csnode --roles api,orchestrator       these two; the others run elsewhere
      csnode --set api.listen=0.0.0.0:8080  as --set says, whatever csnode.toml does

    A value comes from, strongest first: a flag, CSNODE_SECTION_KEY in the environment,
    csnode.d/*.toml beside the file, the file, the default; `csnode config show --origin` tells.
    The first SIGTERM or Ctrl-C finishes what is under way, a second one leaves at once.
    """
    if roles is not None:
        names = [name.strip() for name in roles.split(",") if name.strip()]
        settings.setdefault("node", {})["roles"] = names
    ctx.obj = Chosen(file, settings)
    if ctx.invoked_subcommand is None:
        from csnode.cli.run import play

        ctx.exit(play(ctx.obj.config))


def main() -> None:
    """Run the console script."""
    try:
        code = cli.main(prog_name="csnode", standalone_mode=False)
    except click.ClickException as error:
        error.show()
        sys.exit(ending.USAGE)
    except (click.Abort, KeyboardInterrupt):
        sys.exit(ending.INTERRUPTED)
    except Exception as error:  # noqa: BLE001 (the last one to hear of it)
        sys.exit(ending.told(error))
    sys.exit(code if isinstance(code, int) else 0)
