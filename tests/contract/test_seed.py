"""What a cloud begins with, in the order in which others come to see it."""

from __future__ import annotations

import stat
from pathlib import Path

import pytest

from csnode.api import passwords
from csnode.bus.local import LocalBus
from csnode.data.store import Store
from csnode.directory.alone import AloneDirectory
from csnode.faults import Invalid, Refused
from csnode.model.identity import Account, User
from csnode.model.place import Zone
from csnode.model.stock import Range
from csnode.plugins import entity_kinds
from roles.data.config import DataConfig
from roles.fabric.config import FabricConfig
from roles.fabric.seed import Seed
from tests.contract.data_writer import playing


async def test_whoever_sees_the_first_user_sees_the_whole_cloud(tmp_path: Path) -> None:
    """An api is ready as soon as it knows a user; its first client asks for zones."""
    bus = LocalBus(AloneDirectory())
    async with playing(bus, DataConfig(path=":memory:", inline=True)):
        store, all_kinds = Store(bus, "fabric", "box"), tuple(entity_kinds())
        await Seed("c", FabricConfig(), str(tmp_path)).sow(store)
        feed = await store.data.feed(0, all_kinds, 1000)
        kinds = [kind for kind, _ in feed.entries]
        assert {Zone.kind, Range.kind, Account.kind} <= set(kinds)
        assert kinds.index(User.kind) == len(kinds) - 1

        await Seed("c", FabricConfig(), str(tmp_path)).sow(store)
        assert await store.data.head(all_kinds) == feed.upto


@pytest.mark.parametrize(
    ("wrong", "says"),
    [
        ({"guest_cidr": "8.8.8.0/24"}, "private"),
        ({"guest_cidr": "10.0.0.0/8"}, "/16 to a /29"),
        ({"public_cidr": "10.1.0.0/16", "public_gateway": "10.1.0.1", "public_first": "10.1.0.9",
          "public_last": "10.1.0.99"}, "overlaps"),
        ({"public_gateway": "198.51.100.255"}, "not an address"),
        ({"public_first": "198.51.100.251"}, "lies behind"),
        ({"public_first": "198.51.100.1"}, "to give away"),
        ({"dns1": "dns.example"}, "dns1"),
        ({"dns2": "127.0.0.1"}, "dns2"),
    ],
)  # fmt: skip
async def test_a_cloud_does_not_begin_with_addresses_that_its_routers_refuse(
    wrong: dict[str, str], says: str, tmp_path: Path
) -> None:
    bus = LocalBus(AloneDirectory())
    async with playing(bus, DataConfig(path=":memory:", inline=True)):
        store = Store(bus, "fabric", "box")
        with pytest.raises(Invalid, match=says) as raised:
            await Seed("c", FabricConfig(**wrong), str(tmp_path)).sow(store)  # type: ignore[arg-type]
        assert raised.value.message.startswith("[fabric] ")
        assert await store.find(Zone) == []


@pytest.mark.parametrize("chosen", ["", "chosen"])
async def test_the_first_users_password_is_chosen_or_made_and_never_known_to_all(
    tmp_path: Path, chosen: str
) -> None:
    bus = LocalBus(AloneDirectory())
    async with playing(bus, DataConfig(path=":memory:", inline=True)):
        store = Store(bus, "fabric", "box")
        await Seed("c", FabricConfig(admin_password=chosen), str(tmp_path)).sow(store)
        [user] = await store.find(User)
    file = tmp_path / "admin.password"
    assert file.exists() is not bool(chosen)
    password = chosen or file.read_text().strip()
    assert passwords.matches(password, user.password)
    assert not passwords.matches("password", user.password)
    if not chosen:
        assert (len(password), stat.S_IMODE(file.stat().st_mode)) == (16, 0o600)


async def test_a_password_that_cannot_be_kept_is_asked_of_the_operator(tmp_path: Path) -> None:
    (tmp_path / "state").touch()
    bus = LocalBus(AloneDirectory())
    async with playing(bus, DataConfig(path=":memory:", inline=True)):
        with pytest.raises(Refused, match=r"set \[fabric\] admin_password"):
            await Seed("c", FabricConfig(), str(tmp_path / "state")).sow(Store(bus, "fabric", "b"))
