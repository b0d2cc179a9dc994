"""`csnode node`: the machines that belong to the cluster."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from typing import Any

import click
import msgspec

from csnode import clock, log
from csnode.cli import joined, show
from csnode.cli.chosen import Chosen
from csnode.cli.token import seconds_of
from csnode.config import Config
from csnode.contracts.membership import Membership, Renewal, Seated
from csnode.trust import files
from csnode.trust.files import Keys


@click.group("node", short_help="The machines that belong to the cluster.")
def command() -> None:
    """List and evict machines, and give them new keys. All but rotate need a fabric machine."""


@command.command("list")
@show.output_option()
@click.pass_obj
def list_(chosen: Chosen, output: str) -> None:
    """Show every machine that belongs, or belonged until it was evicted."""
    log.start("error", "text")
    seats = asyncio.run(_seats(chosen.config()))
    if output == "json":
        show.as_json([msgspec.to_builtins(seat) for seat in map(_plain, seats)])
        return
    rows = [_plain(seat) for seat in seats]
    if rows:
        show.table("MACHINES", tuple(rows[0]), [tuple(row.values()) for row in rows])


@command.command("evict")
@click.argument("name")
@click.pass_obj
def evict(chosen: Chosen, name: str) -> None:
    """Evict a machine. It belongs no more: its connections are refused at once, and for good.

    Its host and its guests stay in the records; its name may be taken by a machine that joins.
    """
    log.start("error", "text")
    had_key = asyncio.run(_evict(chosen.config(), name))
    print(f"{name} is evicted")
    if had_key:
        print(
            "it could admit machines, so it may have kept the cluster's key:"
            " `csnode cluster rotate` makes that worthless"
        )


@command.command("allow")
@click.argument("name")
@click.option("--roles", required=True, metavar="ROLE,...", help="All that it may play.")
@click.option("--pool", "pools", multiple=True, metavar="NAME", help="A shared pool, besides.")
@click.pass_obj
def allow(chosen: Chosen, name: str, roles: str, pools: tuple[str, ...]) -> None:
    """Let a machine play these roles from now on, and no others."""
    log.start("error", "text")
    wanted = tuple(role.strip() for role in roles.split(",") if role.strip())
    asyncio.run(_allow(chosen.config(), name, wanted, pools))
    print(f"{name} may play {', '.join(wanted)}")


@command.command("rotate")
@click.option("--good-for", default="1h", show_default=True, help="How long the old key is good.")
@click.pass_obj
def rotate(chosen: Chosen, good_for: str) -> None:
    """Give this machine new keys. Restart its processes, one by one, while the old are good.

    Run it on the machine itself, as the user that csnode runs as.
    """
    log.start("error", "text")
    asyncio.run(_rotate(chosen.config(), seconds_of(good_for)))
    print(f"this machine has new keys; restart its csnode processes within {good_for}")


async def _seats(config: Config) -> Sequence[Seated]:
    async with joined.joined(config) as bus:
        await joined.members(bus)
        return await bus.ask(Membership).seats()


def _plain(seat: Seated) -> dict[str, Any]:
    return {
        "machine": seat.name,
        "roles": list(seat.roles),
        "places": len(seat.places),
        "address": seat.address,
        "serial": seat.serial,
        "until": clock.stamp(seat.until),
        "evicted": clock.stamp(seat.evicted) if seat.evicted else "",
        "signed by": seat.signer.hex()[:8],
    }


async def _evict(config: Config, name: str) -> bool:
    """Evict the machine; return whether it had the cluster's key."""
    async with joined.joined(config) as bus:
        await joined.members(bus)
        seats = await bus.ask(Membership).seats()
        await bus.ask(Membership).evict(name)
    return any(seat.name == name and "fabric" in seat.roles for seat in seats)


async def _allow(config: Config, name: str, roles: Sequence[str], pools: Sequence[str]) -> None:
    async with joined.joined(config) as bus:
        await joined.members(bus)
        await bus.ask(Membership).allow(name, tuple(roles), tuple(pools))


async def _rotate(config: Config, good_for: float) -> None:
    """Make new keys; the old ones stay in their file until the cluster knows the new ones."""
    trust = joined.trust_of(config)
    keys = Keys.new()
    async with joined.joined(config) as bus:
        await joined.members(bus)
        got = await bus.ask(Membership).renew(
            Renewal(
                name=trust.credential.name,
                key=keys.public,
                verify=keys.verify,
                good_for=good_for,
                trusts=tuple(sorted(trust.cluster_keys)),
            )
        )
    files.write_both(trust.folder, keys, got.signed)
