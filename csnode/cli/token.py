"""`csnode token`: tokens that let machines join the cluster."""

from __future__ import annotations

import asyncio
import base64
import hashlib
import re
from collections.abc import Sequence
from typing import Any

import click
import msgspec

from csnode import clock, log
from csnode.cli import joined, show
from csnode.cli.chosen import Chosen
from csnode.config import Config, DirectoryConfig, RedisConfig, ZooKeeperConfig
from csnode.contracts.membership import Invitation, Membership
from csnode.directory.directory import Served
from csnode.faults import Invalid, Unavailable
from csnode.model.membership import Invite
from csnode.node import AnyBus
from csnode.trust.files import Keys
from csnode.types import Message
from csnode.uuids import source

PREFIX = "csnode1."
SECRET_SIZE = 32
UNITS = {"s": 1, "m": 60, "h": 3600, "d": 86400}
TTL_MAX_S = 30 * 86400.0


class Door(Message):
    """Where a machine that admits others can be called, and the key of its connections."""

    calls: str  # "tcp://192.0.2.1:9001"
    key: str  # Curve25519, public, Z85


class Token(Message):
    """What a newcomer needs to know; whoever has it may join, so it is a secret."""

    cluster: str
    fingerprints: tuple[bytes, ...]  # SHA-256 of the cluster's keys
    doors: tuple[Door, ...]
    secret: bytes  # of the newcomer's first connection
    roles: tuple[str, ...]
    until: float
    settings: dict[str, dict[str, Any]] = {}  # sections that all machines share: [directory] ...

    @property
    def text(self) -> str:
        """As it is copied from one terminal to another."""
        return PREFIX + base64.urlsafe_b64encode(msgspec.msgpack.encode(self)).decode().rstrip("=")

    @classmethod
    def read(cls, text: str) -> Token:
        """Read a token. Raises Invalid."""
        body = "".join(text.split()).removeprefix(PREFIX)
        try:
            if not text.strip().startswith(PREFIX):
                raise ValueError
            raw = base64.b64decode(body + "=" * (-len(body) % 4), altchars=b"-_", validate=True)
            return msgspec.msgpack.decode(raw, type=cls)
        except (ValueError, msgspec.DecodeError):
            raise Invalid(
                "this is no join token of csnode, or not the whole of it; "
                "`csnode token create` prints one on a line"
            ) from None


def fingerprint(cluster_key: bytes) -> bytes:
    """Return the fingerprint of a cluster's public key."""
    return hashlib.sha256(cluster_key).digest()


@click.group("token", short_help="Tokens that let machines join the cluster.")
def command() -> None:
    """Make, list and revoke join tokens. Run it on a machine that plays fabric."""


@command.command("create")
@click.option("--roles", required=True, metavar="ROLE,...", help="What the machine may play.")
@click.option("--ttl", default="1h", show_default=True, help="How long it is good: 30m, 12h, 7d.")
@click.option("--uses", default=1, show_default=True, help="How many machines may join with it.")
@click.option("--pool", "pools", multiple=True, metavar="NAME", help="A shared pool it may serve.")
@click.pass_obj
def create(chosen: Chosen, roles: str, ttl: str, uses: int, pools: tuple[str, ...]) -> None:
    """Print a token; `csnode join TOKEN` on another machine makes it a member.

    Whoever has the token may join with these roles, so treat it like a password. It names the
    cluster's key, so that a machine which joins cannot be led into another cluster.
    """
    log.start("error", "text")
    names = tuple(name.strip() for name in roles.split(",") if name.strip())
    print(asyncio.run(_create(chosen.config(), names, seconds_of(ttl), uses, pools)).text)


@command.command("list")
@show.output_option()
@click.pass_obj
def list_(chosen: Chosen, output: str) -> None:
    """Show the tokens that are good, and what for; the tokens themselves are kept nowhere."""
    log.start("error", "text")
    rows = asyncio.run(_rows(chosen.config()))
    if output == "json":
        show.as_json(rows)
    elif rows:
        show.table("TOKENS", tuple(rows[0]), [tuple(row.values()) for row in rows])
    else:
        print("no tokens")


@command.command("revoke")
@click.argument("token", metavar="ID|TOKEN")
@click.pass_obj
def revoke(chosen: Chosen, token: str) -> None:
    """Make a token worthless: name its id, as `csnode token list` shows it, or the token."""
    log.start("error", "text")
    key = key_of(Token.read(token)).public if token.startswith(PREFIX) else token
    asyncio.run(_revoke(chosen.config(), key))
    print("revoked")


def seconds_of(text: str) -> float:
    """Return 90s, 30m, 12h or 7d as seconds. Raises Invalid."""
    found = re.fullmatch(r"(\d+(?:\.\d+)?)([smhd])", text.strip())
    seconds = float(found[1]) * UNITS[found[2]] if found else 0.0
    if not 0 < seconds <= TTL_MAX_S:
        raise Invalid(f"--ttl {text}: a time like 30m, 12h or 7d, 30 days at most")
    return seconds


def key_of(token: Token) -> Keys:
    """Return the key pair of the bearer's first connection."""
    return Keys.of(token.secret)


async def _create(
    config: Config, roles: tuple[str, ...], ttl: float, uses: int, pools: Sequence[str]
) -> Token:
    async with joined.joined(config) as bus:
        doors = await _doors(bus)
        trust = joined.trust_of(config)
        token = Token(
            cluster=config.node.cluster,
            fingerprints=tuple(fingerprint(key) for key in sorted(trust.cluster_keys)),
            doors=doors,
            secret=source.randbytes(SECRET_SIZE),
            roles=roles,
            until=0.0,
            settings=_settings(config),
        )
        until = await bus.ask(Membership).invite(
            Invitation(
                key=key_of(token).public, roles=roles, pools=tuple(pools), uses=uses, seconds=ttl
            )
        )
        return msgspec.structs.replace(token, until=until)


async def _doors(bus: AnyBus) -> tuple[Door, ...]:
    """Return the doors of every machine that admits others. Raises Unavailable if there is none."""
    members = await joined.servers(bus, Served.MEMBERSHIP)
    if not members:
        raise Unavailable(
            "no node serves Membership: fabric must run on a machine that has authority.key"
        )
    return tuple(Door(calls=member.calls, key=member.key) for member in members)


def _settings(config: Config) -> dict[str, dict[str, Any]]:
    """Return what all machines of the cluster have in common, as far as it is not the default."""
    found: dict[str, dict[str, Any]] = {}
    for name, kind in (
        ("directory", DirectoryConfig),
        ("zookeeper", ZooKeeperConfig),
        ("redis", RedisConfig),
    ):
        given, default = config.section(name, kind), kind()
        differing = {
            f: getattr(given, f)
            for f in kind.__struct_fields__
            if f != "interface" and getattr(given, f) != getattr(default, f)
        }
        if differing:
            found[name] = msgspec.to_builtins(differing)
    return found


async def _rows(config: Config) -> list[dict[str, Any]]:
    async with joined.joined(config) as bus:
        await joined.members(bus)
        rows = await joined.store(bus).find(Invite)
    now = clock.wall()
    return [
        {
            "id": row.id,
            "roles": list(row.roles),
            "pools": list(row.pools),
            "uses left": row.uses,
            "used by": list(row.used_by),
            "until": clock.stamp(row.until) + ("" if row.until > now else " (over)"),
            "made on": row.by,
        }
        for row in sorted(rows, key=lambda row: row.created)
    ]


async def _revoke(config: Config, key: str) -> None:
    async with joined.joined(config) as bus:
        await joined.members(bus)
        await bus.ask(Membership).revoke(key)
