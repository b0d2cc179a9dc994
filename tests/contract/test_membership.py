"""Who gets into the cluster, by which token, and what becomes of those who are put out."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from pathlib import Path
from typing import Any, TypeVar

import pytest
from msgspec.structs import replace

from csnode import clock
from csnode.bus.local import LocalBus
from csnode.cli.cluster import found_cluster
from csnode.config import NodeConfig
from csnode.context import NEWCOMER, Principal, prove
from csnode.contracts.membership import Invitation, Joined, JoinRequest, Renewal
from csnode.data.store import Store
from csnode.directory.alone import AloneDirectory
from csnode.faults import Conflict, Denied, Invalid, NotFound
from csnode.model.membership import Invite, Seat
from csnode.muster import Muster
from csnode.testing.patience import patient
from csnode.trust import files
from csnode.trust.files import Keys
from csnode.trust.trust import Trust
from csnode.uuids import id_of
from roles.data.config import DataConfig
from roles.fabric.membership import Registry
from tests.contract.data_writer import playing

T = TypeVar("T")
DAY = 86400.0
HOSTING = ("compute", "network", "storage")


class Cluster:
    """A founded cluster on a data service of its own, and whoever asks it."""

    def __init__(self, store: Store, node: NodeConfig, folder: Path) -> None:
        found_cluster(folder, node)
        trust = Trust.read(folder)
        assert trust is not None
        self.store, self.node, self.folder, self.trust = store, node, folder, trust
        self.registry = Registry(store, node, trust, lifetime_s=365 * DAY)

    async def by(self, who: Principal, work: Callable[[], Awaitable[T]]) -> T:
        """The work, as if that machine had asked for it over the bus."""

        async def asked() -> T:
            prove(who)
            return await work()

        return await asyncio.create_task(asked())

    async def token(self, *roles: str, **given: Any) -> Keys:
        """The key pair of somebody who holds a new token."""
        keys = Keys.new()
        await self.registry.invite(Invitation(key=keys.public, roles=roles or HOSTING, **given))
        return keys

    async def join(self, token: Keys, name: str, keys: Keys | None = None, **said: Any) -> Joined:
        keys = keys or Keys.new()
        request = JoinRequest(name=name, key=keys.public, verify=keys.verify, proof=b"", **said)
        request = replace(request, proof=keys.sign(request.said))
        return await self.knock(token, request)

    async def knock(self, token: Keys, request: JoinRequest) -> Joined:
        newcomer = Principal(name=token.public, roles=frozenset({NEWCOMER}))
        return await self.by(newcomer, lambda: self.registry.join(request))

    def opened(self, got: Joined) -> Any:
        """The credential, checked as everybody checks it."""
        return got.signed.opened(self.trust.cluster_keys, clock.wall())


@pytest.fixture
async def cluster(tmp_path: Path) -> AsyncIterator[Cluster]:
    bus = LocalBus(AloneDirectory())
    node = NodeConfig(cluster="c", host="first", state=str(tmp_path))
    async with playing(bus, DataConfig(path=":memory:", inline=True)):
        made = Cluster(Store(bus, "fabric", "first/fabric"), node, tmp_path / "trust")
        await made.registry.sow()
        yield made


async def test_the_first_machine_has_a_row_and_sowing_twice_is_sowing_once(
    cluster: Cluster,
) -> None:
    await cluster.registry.sow()
    (seat,) = await cluster.store.find(Seat)
    own = cluster.trust.credential
    assert (seat.id, seat.key, seat.serial) == ("first", own.key, own.serial)
    assert {"api", "fabric", "compute"} <= set(seat.roles)


async def test_a_token_makes_a_machine_a_member_with_its_roles_and_places(
    cluster: Cluster,
) -> None:
    keys = Keys.new()
    token = await cluster.token(pools=("nfs",))
    got = await cluster.join(token, "hv-1", keys, address="10.0.0.5")
    made = cluster.opened(got)
    assert (made.cluster, made.name, made.key) == ("c", "hv-1", keys.public)
    assert made.roles == HOSTING
    assert set(made.places) == {
        id_of("c", "host", "hv-1"),
        id_of("c", "pool", "hv-1", "hv-1-local"),
        id_of("c", "pool", "shared", "nfs"),
    }
    assert got.authority == b""
    seat = await cluster.store.get(Seat, "hv-1")
    assert (seat.key, seat.address, seat.evicted) == (keys.public, "10.0.0.5", 0.0)
    assert (await cluster.store.get(Invite, token.public)).used_by == ("hv-1",)


async def test_only_a_machine_that_may_play_fabric_gets_the_key_that_admits_others(
    cluster: Cluster,
) -> None:
    got = await cluster.join(await cluster.token("fabric", "api"), "ctl-2")
    assert cluster.trust.authority is not None
    assert got.authority == cluster.trust.authority.private_bytes_raw()


async def test_a_token_is_good_for_as_many_machines_as_it_says(cluster: Cluster) -> None:
    token = await cluster.token(uses=2)
    await cluster.join(token, "hv-1")
    await cluster.join(token, "hv-2")
    with pytest.raises(Denied, match="used already"):
        await cluster.join(token, "hv-3")
    assert {seat.id for seat in await cluster.store.find(Seat)} == {"first", "hv-1", "hv-2"}


async def test_of_many_that_use_a_token_at_once_one_joins(cluster: Cluster) -> None:
    token = await cluster.token()
    came = await asyncio.gather(
        *(cluster.join(token, f"hv-{n}") for n in range(8)), return_exceptions=True
    )
    assert sum(isinstance(one, Joined) for one in came) == 1
    assert all(isinstance(one, Joined | Denied) for one in came), came
    assert len(await cluster.store.find(Seat)) == 2


async def test_a_machine_whose_answer_was_lost_asks_again_and_gets_it(cluster: Cluster) -> None:
    token, keys = await cluster.token(), Keys.new()
    first = await cluster.join(token, "hv-1", keys)
    assert await cluster.join(token, "hv-1", keys) == first
    assert (await cluster.store.get(Invite, token.public)).uses == 0


async def test_a_token_whose_time_is_over_or_that_was_revoked_admits_nobody(
    cluster: Cluster, monkeypatch: pytest.MonkeyPatch
) -> None:
    revoked, late = await cluster.token(), await cluster.token(seconds=60.0)
    await cluster.registry.revoke(revoked.public)
    with pytest.raises(Denied, match="revoked"):
        await cluster.join(revoked, "hv-1")
    with pytest.raises(NotFound):
        await cluster.registry.revoke(revoked.public)
    then = clock.wall() + 61
    monkeypatch.setattr(clock, "wall_source", lambda: then)
    with pytest.raises(Denied, match="time is over"):
        await cluster.join(late, "hv-1")
    assert [seat.id for seat in await cluster.store.find(Seat)] == ["first"]


async def test_a_name_that_another_machine_has_is_refused(cluster: Cluster) -> None:
    token = await cluster.token(uses=5)
    await cluster.join(token, "hv-1")
    for name in ("hv-1", "first"):
        with pytest.raises(Conflict, match=name):
            await cluster.join(token, name)
    assert (await cluster.store.get(Invite, token.public)).uses == 4


async def test_a_machine_cannot_name_itself_so_that_it_speaks_for_anothers_hosts(
    cluster: Cluster,
) -> None:
    token = await cluster.token(uses=5)
    await cluster.join(token, "sim", hosts=3)
    with pytest.raises(Conflict, match="sim"):
        await cluster.join(token, "sim-0002")
    await cluster.join(token, "sim-0004")
    with pytest.raises(Conflict, match="sim-0004"):
        await cluster.join(token, "sim-0004", hosts=2)
    for name in ("", "a/b", "-a", "a b", "x" * 64):
        with pytest.raises(Invalid):
            await cluster.join(token, name)


async def test_nobody_joins_without_a_token_or_without_the_key_it_names(cluster: Cluster) -> None:
    token, keys = await cluster.token(), Keys.new()
    request = JoinRequest(name="hv-1", key=keys.public, verify=keys.verify, proof=b"")
    for proof in (b"", Keys.new().sign(request.said), keys.sign(b"else")):
        with pytest.raises(Denied, match="prove"):
            await cluster.knock(token, replace(request, proof=proof))
    good = replace(request, proof=keys.sign(request.said))
    with pytest.raises(Denied, match="prove"):
        await cluster.knock(token, replace(good, name="hv-2"))
    with pytest.raises(Denied):
        await cluster.registry.join(good)
    member = Principal(name="first", roles=frozenset({"fabric"}))
    with pytest.raises(Denied):
        await cluster.by(member, lambda: cluster.registry.join(good))
    with pytest.raises(Denied):
        await cluster.knock(Keys.new(), good)


async def test_a_machine_renews_its_own_credential_and_no_others(cluster: Cluster) -> None:
    token, keys = await cluster.token(uses=2), Keys.new()
    await cluster.join(token, "hv-1", keys)
    await cluster.join(token, "hv-2")
    renewal = Renewal(name="hv-1", key=keys.public, verify=keys.verify)
    mine = Principal(name="hv-1", roles=frozenset(HOSTING))
    made = cluster.opened(await cluster.by(mine, lambda: cluster.registry.renew(renewal)))
    assert (made.name, made.serial, made.roles) == ("hv-1", 2, HOSTING)
    others = Principal(name="hv-2", roles=frozenset(HOSTING))
    with pytest.raises(Denied, match="not its own"):
        await cluster.by(others, lambda: cluster.registry.renew(renewal))


async def test_after_a_rotation_the_key_before_is_good_for_a_while(cluster: Cluster) -> None:
    keys, new = Keys.new(), Keys.new()
    await cluster.join(await cluster.token(), "hv-1", keys)
    renewal = Renewal(name="hv-1", key=new.public, verify=new.verify, good_for=600.0)
    mine = Principal(name="hv-1", roles=frozenset(HOSTING))
    made = cluster.opened(await cluster.by(mine, lambda: cluster.registry.renew(renewal)))
    seat = await cluster.store.get(Seat, "hv-1")
    assert (made.key, seat.key, seat.before) == (new.public, new.public, keys.public)
    assert seat.out_at(clock.wall()) == 0
    assert seat.out_at(clock.wall() + 601) == 1


async def test_an_evicted_machine_gets_nothing_and_its_name_is_free(cluster: Cluster) -> None:
    token, keys = await cluster.token(uses=3), Keys.new()
    await cluster.join(token, "hv-1", keys)
    await cluster.registry.evict("hv-1")
    seat = await cluster.store.get(Seat, "hv-1")
    assert seat.evicted > 0
    assert seat.out_at(clock.wall()) == seat.serial == 1
    mine = Principal(name="hv-1", roles=frozenset(HOSTING))
    renewal = Renewal(name="hv-1", key=keys.public, verify=keys.verify)
    with pytest.raises(Denied):
        await cluster.by(mine, lambda: cluster.registry.renew(renewal))
    made = cluster.opened(await cluster.join(token, "hv-1", Keys.new()))
    seat = await cluster.store.get(Seat, "hv-1")
    assert (made.serial, seat.evicted, seat.out_at(clock.wall())) == (2, 0.0, 1)
    with pytest.raises(NotFound):
        await cluster.registry.evict("unknown")
    with pytest.raises(Conflict, match="itself"):
        await cluster.registry.evict("first")


async def test_a_token_needs_roles_a_use_and_a_time(cluster: Cluster) -> None:
    key = Keys.new().public
    cases: tuple[dict[str, Any], ...] = (
        {"roles": ()},
        {"roles": ("newcomer",)},
        {"roles": ("a b",)},
        {"roles": HOSTING, "uses": 0},
        {"roles": HOSTING, "seconds": 0.0},
    )
    for given in cases:
        with pytest.raises(Invalid):
            await cluster.registry.invite(Invitation(key=key, **given))
    assert await cluster.store.find(Invite) == []


# -- the muster ------------------------------------------------------------------------------


async def mustered(cluster: Cluster, trust: Trust, admits: bool = True) -> Muster:
    muster = Muster(cluster.store, trust, admits)
    await muster._open()
    await muster._turn()
    return muster


async def until(fact: Callable[[], bool | Awaitable[bool]], muster: Muster) -> None:
    async with asyncio.timeout(patient(10)):
        while True:
            await muster._view.fresh()
            await muster._turn()
            found = fact()
            if found if isinstance(found, bool) else await found:
                return
            await asyncio.sleep(0.01)


async def test_the_roll_expects_those_with_a_token_until_it_is_revoked(cluster: Cluster) -> None:
    trust = Trust.read(cluster.folder)
    assert trust is not None
    muster = await mustered(cluster, trust)
    token = await cluster.token()
    await until(lambda: trust.roll.who(token.public) is not None, muster)
    who = trust.roll.who(token.public)
    assert who is not None
    assert (who.name, who.roles) == (token.public, frozenset({NEWCOMER}))
    await cluster.registry.revoke(token.public)
    await until(lambda: trust.roll.who(token.public) is None, muster)


async def test_an_evicted_machine_is_put_out_everywhere_and_its_successor_is_not(
    cluster: Cluster,
) -> None:
    trust = Trust.read(cluster.folder)
    assert trust is not None
    muster = await mustered(cluster, trust, admits=False)
    keys, again = Keys.new(), Keys.new()
    got = await cluster.join(await cluster.token(uses=2), "hv-1", keys)
    trust.roll.meet(got.signed)
    assert trust.roll.who(keys.public) is not None
    await cluster.registry.evict("hv-1")
    await until(lambda: trust.roll.who(keys.public) is None, muster)
    with pytest.raises(Denied):
        trust.roll.meet(got.signed)
    late = Trust.read(cluster.folder)  # as after a restart, before any row is read
    assert late is not None
    with pytest.raises(Denied):
        late.roll.meet(got.signed)
    back = await cluster.join(await cluster.token(), "hv-1", again)
    assert trust.roll.meet(back.signed).serial == 2


async def test_a_credential_is_renewed_when_two_thirds_of_its_time_are_over(
    cluster: Cluster, monkeypatch: pytest.MonkeyPatch
) -> None:
    trust = Trust.read(cluster.folder)
    assert trust is not None
    cluster.store.bus.serve(cluster.registry)
    muster = await mustered(cluster, trust, admits=False)
    assert trust.credential.serial == 1
    until_then = trust.credential.until
    now = clock.wall()
    monkeypatch.setattr(clock, "wall_source", lambda: now + 365 * DAY * 0.7)
    await muster._turn()
    assert trust.credential.serial == 2
    assert trust.credential.until > until_then
    kept = Trust.read(cluster.folder)
    assert kept is not None
    assert kept.credential == trust.credential


async def member(cluster: Cluster, name: str, *roles: str) -> Trust:
    """A machine that joined, with a folder of its own."""
    folder, keys = cluster.folder.parent / name, Keys.new()
    got = await cluster.join(await cluster.token(*roles), name, keys)
    files.write_keys(folder, keys)
    files.write_cluster_keys(folder, got.cluster_keys)
    files.write_credential(folder, got.signed)
    if got.authority:
        files.write_authority(folder, files.authority_of(got.authority))
    trust = Trust.read(folder)
    assert trust is not None
    return trust


async def test_the_clusters_key_changes_and_at_no_moment_does_a_machine_refuse_another(
    cluster: Cluster,
) -> None:
    cluster.store.bus.serve(cluster.registry)
    trusts = [
        cluster.trust,
        await member(cluster, "hv-1"),
        await member(cluster, "ctl-2", "fabric"),
    ]
    musters = [await mustered(cluster, trust, admits=False) for trust in trusts]
    (old,) = cluster.trust.cluster_keys
    assert "hv-1" in await cluster.registry.rotate_cluster(True)  # it waits for the others
    async with asyncio.timeout(20):
        while any(trust.cluster_keys & {old} for trust in trusts):
            for muster in musters:
                muster._ask_again = 0.0
                await muster._view.fresh()
                await muster._turn()
                for one in trusts:
                    for other in trusts:
                        one.roll.meet(other.signed)
            await cluster.registry.successor.advance()
    (new,) = cluster.trust.cluster_keys
    assert new != old
    assert all(trust.signed.signer == new for trust in trusts)
    ctl = trusts[2].authority
    assert ctl is not None
    assert ctl.public_key().public_bytes_raw() == new
    again = Trust.read(cluster.folder)
    assert again is not None
    assert (again.signed.signer, again.cluster_keys) == (new, {new})
    made = await cluster.join(await cluster.token(), "hv-2")
    assert made.cluster_keys == (new,)


async def test_a_change_of_keys_waits_for_a_machine_that_is_away_until_it_is_evicted(
    cluster: Cluster,
) -> None:
    cluster.store.bus.serve(cluster.registry)
    await member(cluster, "hv-1")
    muster = await mustered(cluster, cluster.trust, admits=False)
    said = await cluster.registry.rotate_cluster(True)

    async def turn() -> None:
        muster._ask_again = 0.0
        await muster._view.fresh()
        await muster._turn()

    for _ in range(3):
        await turn()
        said = await cluster.registry.rotate_cluster(False)
    assert said == "waiting until these machines trust the new key: hv-1"
    await cluster.registry.evict("hv-1")
    for _ in range(5):
        await turn()
        said = await cluster.registry.rotate_cluster(False)
        if "one key" in said:
            break
    assert len(cluster.trust.cluster_keys) == 1


async def test_what_a_machine_may_play_changes_with_its_row(cluster: Cluster) -> None:
    cluster.store.bus.serve(cluster.registry)
    trust = await member(cluster, "hv-1", "compute")
    muster = await mustered(cluster, trust, admits=False)
    await cluster.registry.allow("hv-1", ("compute", "network"), ("nfs",))
    await until(lambda: trust.credential.roles == ("compute", "network"), muster)
    assert id_of("c", "pool", "shared", "nfs") in trust.credential.places


async def test_faults_say_what_to_do_in_one_line(cluster: Cluster) -> None:
    token = await cluster.token()
    with pytest.raises(Conflict) as said:
        await cluster.join(token, "first")
    assert "csnode node evict first" in said.value.message
    assert "\n" not in said.value.message
