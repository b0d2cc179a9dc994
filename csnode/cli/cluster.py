"""`csnode cluster`: a cluster's keys are made, and changed."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from pathlib import Path

import click
from msgspec.structs import replace

from csnode import log
from csnode.cli import joined
from csnode.cli.chosen import Chosen
from csnode.clock import wall
from csnode.config import Config, NodeConfig
from csnode.contracts.membership import Membership
from csnode.faults import Conflict
from csnode.node import known_sections
from csnode.plugins import found
from csnode.trust import files
from csnode.trust.credential import Credential, signed
from csnode.trust.files import Keys, new_authority

LIFETIME_S = 365 * 86400.0
HOSTED = ("compute", "network", "storage")
EARLY_S = 300.0  # clocks of machines differ


@click.group("cluster", short_help="A cluster's keys are made, and changed.")
def command() -> None:
    """Found a cluster, and change its key. Other machines join it: see `csnode token`."""


@command.command("init")
@click.option("--name", default="", help="The cluster's name; else [node] cluster.")
@click.option("--host", default="", help="This machine's name; else [node] host.")
@click.option("--state", default="", metavar="FOLDER", help="Else [node] state.")
@click.option("--folder", default="", help="Where the keys go; else [trust] folder.")
@click.pass_obj
def init(chosen: Chosen, name: str, host: str, state: str, folder: str) -> None:
    """Make the cluster's key, and this machine its first member, with every role.

    It needs no network, and changes nothing but the folder with the keys. Start csnode afterwards,
    and let other machines join by `csnode token create`. Keep a copy of authority.key in a safe
    place: who has it can admit machines; without it none can be admitted any more.
    """
    log.start("error", "text")
    config = chosen.config()
    given = {"cluster": name, "host": host, "state": state}
    node = replace(config.node, **{k: v for k, v in given.items() if v})
    node = replace(node, host=node.host_name)
    place = Path(folder) if folder else joined.trust_folder(config, node)
    found_cluster(place, node, _played(config), *_pools(config))
    print(f"the cluster {node.cluster} has its keys in {place}")
    print(f"{node.host_name} is its first machine, and may play every role")


def found_cluster(
    folder: Path, node: NodeConfig, hosts: int = 1, pool: str = "", shared: Sequence[str] = ()
) -> None:
    """Make keys for a new cluster and its first machine.

    Raises Conflict if the folder has a credential.
    """
    if (folder / files.CREDENTIAL).exists():
        raise Conflict(f"{folder} belongs to a cluster already")
    authority, keys = new_authority(), Keys.new()
    credential = Credential(
        cluster=node.cluster,
        name=node.host_name,
        roles=tuple(sorted({*found("roles"), "keeper", "services"})),
        places=node.places(hosts, pool, shared),
        key=keys.public,
        verify=keys.verify,
        serial=1,
        since=wall() - EARLY_S,
        until=wall() + LIFETIME_S,
    )
    files.write_keys(folder, keys)
    files.write_authority(folder, authority)
    files.write_cluster_keys(folder, (authority.public_key().public_bytes_raw(),))
    files.write_credential(folder, signed(credential, authority))


@command.command("rotate")
@click.option("--progress", is_flag=True, help="Begin nothing; say how far a change is.")
@click.pass_obj
def rotate(chosen: Chosen, progress: bool) -> None:
    """Give the cluster a new key, while it runs; say how far that is.

    All machines come to trust the new key, then all get credentials signed with it, then the old
    key is worthless; --progress tells how far that is. A machine that is down meanwhile holds it
    up, until it is back or evicted.
    """
    log.start("error", "text")
    print(asyncio.run(_rotate(chosen.config(), not progress)))


async def _rotate(config: Config, begin: bool) -> str:
    async with joined.joined(config) as bus:
        await joined.members(bus)
        return await bus.ask(Membership).rotate_cluster(begin)


def _played(config: Config) -> int:
    """Count the hosts this machine plays: more than its own if some are simulated."""
    sections = known_sections()
    played = [config.section(name, sections[name]) for name in HOSTED if name in sections]
    return max((int(getattr(section, "hosts", 1)) for section in played), default=1)


def _pools(config: Config) -> tuple[str, tuple[str, ...]]:
    """Return what [storage] calls this machine's own pool, and the names of shared ones."""
    sections = known_sections()
    if "storage" not in sections:
        return "", ()
    section = config.section("storage", sections["storage"])
    name = str(getattr(section, "name", ""))
    return ("", (name,)) if getattr(section, "shared", False) else (name, ())
