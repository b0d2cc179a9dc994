"""Who asks in a world: a root admin, a domain with its admin and a user, and a user outside."""

from __future__ import annotations

from csnode.api.about import Rank
from csnode.api.call import Caller
from csnode.data.store import Store
from csnode.data.view import View
from csnode.faults import Unavailable
from csnode.model.identity import Account, AccountType, Domain, User
from csnode.model.offering import SOURCE_NAT, NetworkOffering
from csnode.types import AccountId, DomainId, UserId
from csnode.uuids import id_of

ADMIN = "admin"
TENANTS = {"head": ("acme", AccountType.DOMAIN_ADMIN), "ann": ("acme", AccountType.USER),
           "bob": ("", AccountType.USER)}  # fmt: skip
"""Besides the first root admin: each one's domain ("": ROOT) and what its account is."""
RANKS = {
    AccountType.USER: Rank.USER,
    AccountType.DOMAIN_ADMIN: Rank.DOMAIN_ADMIN,
    AccountType.ROOT_ADMIN: Rank.ROOT_ADMIN,
}


def caller_of(view: View, name: str) -> Caller:
    """Return the user of that name, as an api knows it. Raises Unavailable if it knows none."""
    users = [user for user in view.all(User) if user.name == name]
    if not users:
        raise Unavailable(f"this api knows no user {name} yet")
    account = view.maybe(Account, users[0].account)
    if account is None:
        raise Unavailable(f"this api does not know the account of {name} yet")
    return Caller(
        user=UserId(users[0].id),
        account=users[0].account,
        domain=account.domain,
        rank=RANKS[account.type],
    )


async def settle_tenants(store: Store) -> None:
    """Give the cloud its tenants, and a kind of network whose router is built at once.

    No command of ours makes either yet.
    """
    root = next(d for d in await store.find(Domain) if d.parent is None)
    acme = Domain(id=id_of("world", "domain", "acme"), name="acme", path=f"{root.path}/acme",
                  parent=DomainId(root.id), level=1)  # fmt: skip
    change = store.change()
    change.create(acme)
    change.create(
        NetworkOffering(id=id_of("world", "persistent"), name="persistent",
                        services=("Dhcp", SOURCE_NAT), persistent=True)
    )  # fmt: skip
    for name, (domain, type) in TENANTS.items():
        where = DomainId(acme.id if domain else root.id)
        account = AccountId(id_of("world", "account", name))
        change.create(Account(id=account, name=name, domain=where, type=type))
        change.create(
            User(id=id_of("world", "user", name), name=name, account=account, domain=where)
        )
    await change.commit()
