"""Users, accounts and domains, with what they use of their limits."""

from __future__ import annotations

from typing import Annotated, Any, ClassVar

from csnode.api.about import About, Date, Long
from csnode.api.view import Part, Shown, date
from csnode.data.view import View
from csnode.model.entity import Entity
from csnode.model.footprint import limits_of, uncounted
from csnode.model.identity import Account, AccountType, Domain, User
from csnode.model.ids import account_usage
from csnode.model.network import Network
from csnode.model.stock import Tally, usage
from csnode.model.template import Template
from csnode.model.vm import Vm
from csnode.uuids import id_of

UNLIMITED = "Unlimited"
ROLES = {
    AccountType.USER: ("User", "User"),
    AccountType.DOMAIN_ADMIN: ("Domain Admin", "DomainAdmin"),
    AccountType.ROOT_ADMIN: ("Root Admin", "Admin"),
}


class UserPart(Part):
    """A user within his account."""

    id: Annotated[str, About("the id of the user")]
    username: Annotated[str, About("the name that logs in")]
    first_name: Annotated[str, About("first name")]
    last_name: Annotated[str, About("last name")]
    email: Annotated[str | None, About("mail address")] = None
    created: Annotated[Date | None, About("when it was created")] = None
    state: Annotated[str, About("enabled, disabled or locked")]
    account: Annotated[str | None, About("the account he acts for")] = None
    account_id: Annotated[str, About("the id of that account")]
    account_type: Annotated[int | None, About("0 user, 1 root admin, 2 domain admin")] = None
    domain: Annotated[str | None, About("the name of his domain")] = None
    domain_id: Annotated[str, About("the id of his domain")]
    timezone: Annotated[str | None, About("his time zone")] = None
    role_id: Annotated[str | None, About("the id of his role")] = None
    role_name: Annotated[str | None, About("the name of his role")] = None
    role_type: Annotated[str | None, About("Admin, DomainAdmin or User")] = None
    api_key: Annotated[str | None, About("his API key")] = None
    is_default: Annotated[bool, About("whether it is one of the first user's")]
    user_source: Annotated[str, About("native")]


class UserView(UserPart, Shown):
    """A user."""

    key: ClassVar[str] = "user"
    of: ClassVar[type[Entity]] = User

    is_2fa_enabled: Annotated[bool, About("whether a second factor is asked for")]
    is_2fa_mandated: Annotated[bool, About("whether a second factor must be set up")]
    is_caller_child_domain: Annotated[bool, About("whether his domain is below the caller's")]
    user_source: Annotated[str, About("native")]

    @classmethod
    def made(cls, row: User, view: View) -> UserView:
        return cls(
            **_user(row, view),
            is_2fa_enabled=False,
            is_2fa_mandated=False,
            is_caller_child_domain=False,
        )


class AccountView(Shown):
    """An account."""

    key: ClassVar[str] = "account"
    of: ClassVar[type[Entity]] = Account

    id: Annotated[str, About("the id of the account")]
    name: Annotated[str, About("its name")]
    account_type: Annotated[int, About("0 user, 1 root admin, 2 domain admin")]
    role_id: Annotated[str, About("the id of its role")]
    role_name: Annotated[str, About("the name of its role")]
    role_type: Annotated[str, About("Admin, DomainAdmin or User")]
    domain: Annotated[str | None, About("the name of its domain")] = None
    domain_id: Annotated[str, About("the id of its domain")]
    domain_path: Annotated[str | None, About("the path of its domain")] = None
    created: Annotated[Date | None, About("when it was created")] = None
    state: Annotated[str, About("enabled, disabled or locked")]
    is_default: Annotated[bool, About("whether it came with the cloud")]
    is_cleanup_required: Annotated[bool, About("whether it is on its way out")]
    network_domain: Annotated[str | None, About("the DNS suffix of its networks")] = None
    vm_limit: Annotated[str, About("how many machines it may have")]
    vm_total: Annotated[Long, About("how many machines it has")]
    vm_available: Annotated[str, About("how many machines more it may have")]
    vm_running: Annotated[int, About("how many of them run")]
    vm_stopped: Annotated[int, About("how many of them do not")]
    cpu_limit: Annotated[str, About("processors it may have")]
    cpu_total: Annotated[Long, About("processors it has")]
    cpu_available: Annotated[str, About("processors more it may have")]
    memory_limit: Annotated[str, About("MiB it may have")]
    memory_total: Annotated[Long, About("MiB it has")]
    memory_available: Annotated[str, About("MiB more it may have")]
    volume_limit: Annotated[str, About("volumes it may have")]
    volume_total: Annotated[Long, About("volumes it has")]
    volume_available: Annotated[str, About("volumes more it may have")]
    primary_storage_limit: Annotated[str, About("GiB of volumes it may have")]
    primary_storage_total: Annotated[Long, About("GiB of volumes it has")]
    primary_storage_available: Annotated[str, About("GiB of volumes more it may have")]
    network_limit: Annotated[str, About("networks it may have")]
    network_total: Annotated[Long, About("networks it has")]
    network_available: Annotated[str, About("networks more it may have")]
    ip_limit: Annotated[str, About("public addresses it may have")]
    ip_total: Annotated[Long, About("public addresses it has")]
    ip_available: Annotated[str, About("public addresses more it may have")]
    template_limit: Annotated[str, About("templates it may have")]
    template_total: Annotated[Long, About("templates it has")]
    template_available: Annotated[str, About("templates more it may have")]
    user: Annotated[tuple[UserPart, ...], About("who may act for it")]

    @classmethod
    def made(cls, row: Account, view: View) -> AccountView:
        domain = view.maybe(Domain, row.domain)
        tally = view.maybe(Tally, account_usage(row.id))
        networks = view.by(Network, "account", row.id)
        templates = view.by(Template, "account", row.id)
        used = {**usage(tally), **uncounted(networks, templates)}
        machines = view.by(Vm, "account", row.id)
        running = sum(vm.runs for vm in machines)
        return cls(
            id=row.id,
            name=row.name,
            account_type=row.type.value,
            role_id=role_id(row.type),
            role_name=ROLES[row.type][0],
            role_type=ROLES[row.type][1],
            domain=domain.name if domain else None,
            domain_id=row.domain,
            domain_path=domain.path if domain else None,
            created=date(row.created),
            state=row.standing.value,
            is_default=is_first(row, view),
            is_cleanup_required=False,
            network_domain=row.network_domain or None,
            vm_running=running,
            vm_stopped=len(machines) - running,
            user=tuple(UserPart(**_user(u, view)) for u in view.by(User, "account", row.id)),
            **_use(limits_of(row), used),
        )


class DomainView(Shown):
    """A domain."""

    key: ClassVar[str] = "domain"
    of: ClassVar[type[Entity]] = Domain

    id: Annotated[str, About("the id of the domain")]
    name: Annotated[str, About("its name")]
    level: Annotated[int, About("how deep it is; ROOT is 0")]
    parent_domain_id: Annotated[str | None, About("the domain it is in")] = None
    parent_domain_name: Annotated[str | None, About("the name of that domain")] = None
    has_child: Annotated[bool, About("whether there are domains in it")]
    path: Annotated[str, About("ROOT/...")]
    created: Annotated[Date | None, About("when it was created")] = None
    state: Annotated[str, About("Active")]
    network_domain: Annotated[str | None, About("the DNS suffix of its networks")] = None
    vm_limit: Annotated[str, About("how many machines it may have")]
    vm_available: Annotated[str, About("how many machines more it may have")]
    cpu_limit: Annotated[str, About("processors it may have")]
    cpu_available: Annotated[str, About("processors more it may have")]
    memory_limit: Annotated[str, About("MiB it may have")]
    memory_available: Annotated[str, About("MiB more it may have")]

    @classmethod
    def made(cls, row: Domain, view: View) -> DomainView:
        parent = view.maybe(Domain, row.parent)
        return cls(
            id=row.id,
            name=row.name,
            level=row.level,
            parent_domain_id=row.parent,
            parent_domain_name=parent.name if parent else None,
            has_child=bool(view.by(Domain, "parent", row.id)),
            path=row.path,
            created=date(row.created),
            state="Active",
            network_domain=row.network_domain or None,
            vm_limit=UNLIMITED,
            vm_available=UNLIMITED,
            cpu_limit=UNLIMITED,
            cpu_available=UNLIMITED,
            memory_limit=UNLIMITED,
            memory_available=UNLIMITED,
        )


class KeysView(Shown):
    """A user's keys."""

    key: ClassVar[str] = "userkeys"

    api_key: Annotated[str | None, About("the API key")] = None
    secret_key: Annotated[str | None, About("the secret that signs requests")] = None
    api_key_access: Annotated[bool | None, About("whether keys may be used")] = None


def is_first(row: Account | User, view: View) -> bool:
    """Tell whether it came with the cloud: the account admin of ROOT, and its user admin."""
    domain = view.maybe(Domain, row.domain)
    return row.name == "admin" and domain is not None and domain.parent is None


def role_id(type: AccountType) -> str:
    """Return the id of a role: one of the three built in, with the same id everywhere."""
    return id_of("role", ROLES[type][1])


def _user(row: User, view: View) -> dict[str, Any]:
    account, domain = view.maybe(Account, row.account), view.maybe(Domain, row.domain)
    kind = account.type if account else None
    return {
        "id": row.id,
        "username": row.name,
        "first_name": row.first_name,
        "last_name": row.last_name,
        "email": row.email or None,
        "created": date(row.created),
        "state": row.standing.value,
        "account": account.name if account else None,
        "account_id": row.account,
        "account_type": kind.value if kind is not None else None,
        "domain": domain.name if domain else None,
        "domain_id": row.domain,
        "timezone": row.timezone or None,
        "role_id": role_id(kind) if kind is not None else None,
        "role_name": ROLES[kind][0] if kind is not None else None,
        "role_type": ROLES[kind][1] if kind is not None else None,
        "api_key": row.api_key or None,
        "is_default": is_first(row, view),
        "user_source": "native",
    }


_RESOURCES = {
    "vm": "user_vm",
    "cpu": "cpu",
    "memory": "memory",
    "volume": "volume",
    "primary_storage": "primary_storage",
    "network": "network",
    "ip": "public_ip",
    "template": "template",
}


def _use(limits: dict[str, int], used: dict[str, int]) -> dict[str, Any]:
    """Return limit, total and what is left of each resource."""
    found: dict[str, Any] = {}
    for name, resource in _RESOURCES.items():
        limit, total = limits.get(resource), used.get(resource, 0)
        found[f"{name}_limit"] = UNLIMITED if limit is None else str(limit)
        found[f"{name}_total"] = total
        found[f"{name}_available"] = UNLIMITED if limit is None else str(max(0, limit - total))
    return found
