"""Who uses the cloud: domains, accounts, users, sessions."""

from __future__ import annotations

from enum import IntEnum, StrEnum
from typing import Annotated, ClassVar

from csnode.model.entity import Entity, Key, Ref
from csnode.model.owner import ByAccount, ByDomain, Ownership, Through
from csnode.types import AccountId, DomainId, UserId


class AccountType(IntEnum):
    """CloudStack's numbers, as login and listAccounts show them."""

    USER = 0
    ROOT_ADMIN = 1
    DOMAIN_ADMIN = 2


class Standing(StrEnum):
    """Whether an account or a user may act; lower case on the wire."""

    ENABLED = "enabled"
    DISABLED = "disabled"
    LOCKED = "locked"


class Domain(Entity):
    """A tenant's place in the tree; id: DomainId. Path "ROOT/acme", level 1."""

    kind: ClassVar[str] = "domain"
    owned_by: ClassVar[Ownership] = ByDomain(domain="id")

    name: str
    path: Annotated[str, Key(unique=True)]
    parent: Annotated[DomainId | None, Key(), Ref(to="domain")] = None
    level: int = 0
    network_domain: str = ""
    created: float = 0.0


class Account(Entity):
    """Who owns things; id: AccountId. Limits by resource name, -1 is unlimited."""

    kind: ClassVar[str] = "account"
    owned_by: ClassVar[Ownership] = ByAccount(account="id")

    name: Annotated[str, Key()]
    domain: Annotated[DomainId, Key(), Ref(to="domain")]
    type: AccountType = AccountType.USER
    standing: Standing = Standing.ENABLED
    network_domain: str = ""
    limits: dict[str, int] = {}
    created: float = 0.0


class User(Entity):
    """Who acts for an account; id: UserId."""

    kind: ClassVar[str] = "user"
    owned_by: ClassVar[Ownership] = ByAccount()

    name: Annotated[str, Key()]  # the user name that logs in
    account: Annotated[AccountId, Key(), Ref(to="account")]
    domain: Annotated[DomainId, Ref(to="domain", pins=False)]  # its account pins it
    password: str = ""  # scrypt$n$r$p$salt$hash, made by roles.api
    first_name: str = ""
    last_name: str = ""
    email: str = ""
    timezone: str = ""
    api_key: Annotated[str, Key()] = ""
    secret_key: str = ""
    standing: Standing = Standing.ENABLED
    created: float = 0.0


class Session(Entity):
    """A login; id: a digest of the cookie, so that a stolen database logs nobody in."""

    kind: ClassVar[str] = "session"
    owned_by: ClassVar[Ownership] = Through(column="user")

    user: Annotated[UserId, Key(), Ref(to="user", pins=False)]
    key: str  # digest of the sessionkey
    ends: float = 0.0
