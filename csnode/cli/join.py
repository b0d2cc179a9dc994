"""`csnode join`: this machine becomes a member of a cluster."""

from __future__ import annotations

import asyncio
import ipaddress
import sys
import tomllib
from pathlib import Path
from typing import Any

import click
from msgspec.structs import replace

from csnode import log
from csnode.bus.zeromq import ZmqBus
from csnode.cli.chosen import PLACES
from csnode.cli.config import toml
from csnode.cli.token import Door, Token, fingerprint, key_of
from csnode.clock import wall
from csnode.config import BusConfig, NodeConfig
from csnode.contracts.membership import Joined, JoinRequest, Membership
from csnode.directory.alone import AloneDirectory, Meeting
from csnode.directory.directory import Member, Served, Serving
from csnode.faults import Conflict, Denied, Invalid
from csnode.trust import files
from csnode.trust.credential import Credential
from csnode.trust.files import Keys
from csnode.types import NodeId


@click.command("join", short_help="This machine becomes a member of a cluster.")
@click.argument("token")
@click.option("--host", default="", help="This machine's name in the cluster; else the system's.")
@click.option("--listen", default="127.0.0.1", show_default=True, help="Its address on the bus.")
@click.option(
    "--config", "file", type=click.Path(path_type=Path), default=PLACES[-1], show_default=True,
    help="The configuration to write.",
)  # fmt: skip
@click.option("--state", default=NodeConfig().state, show_default=True, help="Where state is kept.")
@click.option("--hosts", default=1, show_default=True, help="With simulated ones: how many.")
@click.option("--force", is_flag=True, help="Write over a configuration that is there.")
def command(
    token: str, host: str, listen: str, file: Path, state: str, hosts: int, force: bool
) -> None:
    """Join the cluster that the TOKEN is of: write this machine's keys and configuration.

    The token comes from `csnode token create`; - reads it from standard input, where no other
    user of this machine can see it. Afterwards `csnode --config FILE` plays the roles
    that the token allows. If the answer gets lost on its way, the same command may be given again.
    """
    log.start("error", "text")
    wanted = Token.read(sys.stdin.read() if token == "-" else token)
    node = NodeConfig(cluster=wanted.cluster, host=host, state=state, roles=wanted.roles)
    _check(wanted, listen, file, force)
    folder = Path(state) / "trust"
    if (folder / files.CREDENTIAL).exists() and not force:
        raise Conflict(f"{folder} has a credential: this machine belongs to a cluster already")
    keys = _keys(folder)
    got = asyncio.run(asked(wanted, node, keys, listen, hosts))
    credential = verified(wanted, got, keys)
    if got.authority:
        files.write_authority(folder, files.authority_of(got.authority))
    files.write_cluster_keys(folder, got.cluster_keys)
    files.write_credential(folder, got.signed)
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_text(written(wanted, node, listen))
    print(f"{credential.name} belongs to the cluster {wanted.cluster}: {', '.join(wanted.roles)}")
    print(f"its keys are in {folder}; start it with: csnode --config {file}")


def _check(token: Token, listen: str, file: Path, force: bool) -> None:
    if token.until < wall():
        raise Denied("the time of this token is over; `csnode token create` makes another")
    try:
        ipaddress.ip_address(listen)
    except ValueError:
        raise Invalid(f"--listen {listen} is no IP address") from None
    if not force and _says_anything(file):
        raise Conflict(f"{file} is there already; --force writes over it, --config names another")


def _says_anything(file: Path) -> bool:
    """Tell whether a configuration is there that sets anything: the package's own only lists."""
    try:
        return any(tomllib.loads(file.read_text()).values())
    except FileNotFoundError:
        return False
    except (tomllib.TOMLDecodeError, UnicodeDecodeError):
        return True


def _keys(folder: Path) -> Keys:
    """Write keys before anybody is asked: the same machine may ask again if it hears no answer."""
    if (folder / files.KEY).exists() and not (folder / files.CREDENTIAL).exists():
        return files.read_keys(folder)
    keys = Keys.new()
    files.write_keys(folder, keys)
    return keys


async def asked(token: Token, node: NodeConfig, keys: Keys, listen: str, hosts: int) -> Joined:
    """Ask those who admit to let this machine join.

    Raises Denied and Conflict as they say; Unavailable if none of them can be reached.
    """
    request = JoinRequest(
        name=node.host_name,
        key=keys.public,
        verify=keys.verify,
        proof=b"",
        address=listen,
        hosts=hosts,
    )
    request = replace(request, proof=keys.sign(request.said))
    meeting = Meeting()
    for number, door in enumerate(token.doors):
        meeting.members[NodeId(f"door/{number}")] = _member(token, number, door)
    newcomer = ZmqBus(BusConfig(), AloneDirectory(meeting), keys=key_of(token))
    async with newcomer as bus:
        return await bus.ask(Membership).join(request)


def _member(token: Token, number: int, door: Door) -> Member:
    """Describe a machine that admits others, as its beacon would describe it to a member."""
    return Member(
        node=NodeId(f"door/{number}"),
        cluster=token.cluster,
        incarnation=1,
        number=1,
        host="door",
        roles=("fabric",),
        serves=(Serving(contract=Served.MEMBERSHIP),),
        calls=door.calls,
        events="",
        key=door.key,
    )


def verified(token: Token, got: Joined, keys: Keys) -> Credential:
    """Return our credential.

    Raises Denied unless the cluster that the token names made it, for our keys.
    """
    trusted = frozenset(k for k in got.cluster_keys if fingerprint(k) in token.fingerprints)
    credential = got.signed.opened(trusted, wall())
    if (credential.cluster, credential.key) != (token.cluster, keys.public):
        raise Denied("the answer is no credential for this machine")
    return credential


def written(token: Token, node: NodeConfig, listen: str) -> str:
    """Write the configuration of a machine that joined."""
    sections: dict[str, dict[str, Any]] = {
        "node": {
            "cluster": token.cluster,
            "host": node.host_name,
            "roles": token.roles,
            "state": node.state,
        },
        "bus": {"listen": listen},
        **token.settings,
    }
    said = "".join(
        f"[{name}]\n" + "".join(f"{key} = {toml(value)}\n" for key, value in section.items()) + "\n"
        for name, section in sections.items()
    )
    return f"# Written by `csnode join`; `csnode config show` has all that may be set.\n\n{said}"
