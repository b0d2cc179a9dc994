"""login, logout, listApis, listCapabilities: what a client needs before anything else."""

from __future__ import annotations

from datetime import UTC, datetime
from functools import partial
from typing import Annotated, Any, ClassVar
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

import msgspec

from csnode.api import passwords
from csnode.api.about import About, Free, Long, Rank, Word
from csnode.api.call import Call
from csnode.api.catalog import entries
from csnode.api.command import COMMANDS, SPEAKS, Answers, ApiCommand, command
from csnode.api.parse import BY_SERVER, UUID
from csnode.api.shelf import Listing
from csnode.api.view import Part, Shown
from csnode.clock import wall
from csnode.context import current
from csnode.faults import Denied
from csnode.model.event import UserEvent
from csnode.model.identity import Account, Domain, Session, Standing, User
from csnode.model.ids import failed_logins
from csnode.model.stock import Tally, usage
from csnode.types import UserId
from csnode.uuids import new_id
from roles.api import session
from roles.api.views.identity import is_first

NOBODYS = f"scrypt$16384$8$1${'00' * 16}${'00' * 32}"  # so that unknown users take as long


class LoginView(Shown):
    """A session that began."""

    username: Annotated[str, About("who logged in")]
    user_id: Annotated[str, About("his id")]
    domain_id: Annotated[str, About("his domain")]
    timeout: Annotated[int, About("seconds without a request until the session ends")]
    account: Annotated[str, About("the account he acts for")]
    first_name: Annotated[str, About("first name")]
    last_name: Annotated[str, About("last name")]
    type: Annotated[str, About("0 user, 1 root admin, 2 domain admin")]
    timezone: Annotated[str | None, About("his time zone")] = None
    timezone_offset: Annotated[str | None, About("its distance from UTC, in hours")] = None
    registered: Annotated[str, About("false")]
    session_key: Annotated[str, About("to be sent with every request")]
    is_2fa_enabled: Annotated[str, About("false")]
    is_2fa_verified: Annotated[str, About("false")]


@command(
    "login",
    answers=Answers.BARE,
    shows=LoginView,
    open=True,
    java="com.cloud.api.auth.DefaultLoginAPIAuthenticatorCmd",
)
class Login(ApiCommand):
    """Logs a user into the cloud. Afterwards the cookie and the sessionkey are his credentials."""

    username: Annotated[str, About("user name")]
    password: Annotated[str, About("password, in the clear")]
    domain: Annotated[str, About("path of the domain; empty: ROOT")] = ""
    domain_id: Annotated[
        str | None, About("id of the domain"), Free("where the user is looked for: no caller yet")
    ] = msgspec.field(default=None, name="domainId")

    async def run(self, call: Call) -> LoginView:
        if not call.asked.post:
            text = "Please use HTTP POST to authenticate using this API"
            raise Denied(text, code=405, cs=BY_SERVER)
        domain = self._domain(call)
        named = [u for u in call.view.by(User, "name", self.username) if u.domain == domain.id]
        user = await self._proven(call, named[0] if named else None, domain)
        account = call.view.get(Account, user.account)
        enabled = Standing.ENABLED
        if user.standing is not enabled or account.standing is not enabled:
            raise _locked(self.username, domain)
        session.make_room(call.change, call.view, UserId(user.id), call.options.sessions_max)
        cookie, key = session.begin(call.change, UserId(user.id), call.options.session_seconds)
        call.headers += session.cookie_headers(cookie, key)
        _record(call, "USER.LOGIN", user, "user has logged in")
        return LoginView(
            username=user.name,
            user_id=user.id,
            domain_id=user.domain,
            timeout=call.options.session_seconds,
            account=account.name,
            first_name=user.first_name,
            last_name=user.last_name,
            type=str(account.type.value),
            timezone=user.timezone or None,
            timezone_offset=_offset(user.timezone),
            registered="false",
            session_key=key,
            is_2fa_enabled="false",
            is_2fa_verified="false",
        )

    def _domain(self, call: Call) -> Domain:
        if self.domain_id:
            found = call.view.maybe(Domain, self.domain_id)
            if found is None or not UUID.fullmatch(self.domain_id):
                text = "Invalid domain id entered, please enter a valid one"
                raise Denied(text, code=401)
            return found
        path = "/".join(part for part in ("ROOT", *self.domain.split("/")) if part)
        path = path.replace("ROOT/ROOT", "ROOT", 1)
        found = call.view.by(Domain, "path", path)
        if not found:
            text = f"Unable to find the domain from the path /{self.domain.strip('/')}/"
            raise Denied(text, cs=0)
        return found[0]

    async def _proven(self, call: Call, user: User | None, domain: Domain) -> User:
        """Return the user if the password is theirs.

        A wrong one is counted; at the limit the user is disabled, unless it is the first.
        """
        stored = user.password if user else NOBODYS
        check = partial(passwords.matches, self.password, stored)
        right = await call.logins.take(call.asked.address, self.username.lower(), check)
        failed = _failed(call, user)
        if user is not None and right:
            if failed:
                call.change.count(failed_logins(user.id), {"failed": -failed})
            return user
        if user is not None:
            change = call.change
            change.count(failed_logins(user.id), {"failed": 1})
            limit = call.options.login_attempts
            if limit and failed + 1 >= limit and not is_first(user, call.view):
                change.update(User, user.id, standing=Standing.DISABLED)
                change.count(failed_logins(user.id), {"failed": -failed - 1})
            await change.commit()
            change.items.clear()
        if user is not None and user.standing is not Standing.ENABLED:
            raise _locked(self.username, domain)
        raise Denied(
            f"Failed to authenticate user {self.username} in domain {domain.id}; please provide "
            "valid credentials",
            cs=0,
        )


class LogoutView(Shown):
    """A session that ended."""

    description: Annotated[str, About("success")]


@command(
    "logout",
    answers=Answers.BARE,
    shows=LogoutView,
    open=True,
    java="com.cloud.api.auth.DefaultLogoutAPIAuthenticatorCmd",
)
class Logout(ApiCommand):
    """Logs out the user."""

    async def run(self, call: Call) -> LogoutView:
        held = session.find(call.view, call.asked)
        if held is not None:
            if not session.key_is_right(held, call.asked.params, call.asked.cookies):
                raise Denied("unable to verify user credentials", code=401)
            call.change.delete(Session, held.id)
            user = call.view.maybe(User, held.user)
            if user is not None:
                _record(call, "USER.LOGOUT", user, "user has logged out")
        call.headers += session.no_cookie_headers()
        return LogoutView(description="success")


class ParamView(Part):
    """A parameter of a command."""

    name: Annotated[str, About("the name of the parameter")]
    description: Annotated[str, About("what it is")]
    type: Annotated[str, About("its type")]
    length: Annotated[int, About("the most characters it may have")]
    required: Annotated[bool, About("whether it must be given")]
    since: Annotated[str | None, About("the version it came with")] = None
    related: Annotated[str | None, About("commands that show what it names")] = None


class FieldView(Part):
    """A field of an answer."""

    name: Annotated[str, About("the name of the field")]
    description: Annotated[str, About("what it is")]
    type: Annotated[str, About("its type")]
    response: Annotated[tuple[str, ...] | None, About("its own fields"), Word("set")] = None


class ApiView(Shown):
    """A command."""

    key: ClassVar[str] = "api"

    name: Annotated[str, About("the name of the command")]
    description: Annotated[str, About("what it does")]
    is_async: Annotated[bool, About("whether it starts a job")]
    since: Annotated[str | None, About("the version it came with")] = None
    related: Annotated[str, About("commands with the same answer")]
    params: Annotated[tuple[ParamView, ...], About("its parameters"), Word("set")]
    response: Annotated[tuple[FieldView, ...], About("the fields of its answer"), Word("set")]
    type: Annotated[str | None, About("of a response field, its type")] = None


_entries: dict[tuple[Rank, int], dict[str, bytes]] = {}


@command(
    "listApis",
    answers=Answers.LIST,
    shows=ApiView,
    since="4.1.0",
    java="org.apache.cloudstack.api.command.user.discovery.ListApisCmd",
)
class ListApis(ApiCommand):
    """Lists the commands that the caller may call, with their parameters and answers."""

    name: Annotated[str | None, About("the name of one command")] = None

    async def run(self, call: Call) -> Listing:
        offered = _encoded(call.caller.rank)
        if self.name:
            rows = [row for name, row in offered.items() if name == self.name]
        else:
            rows = list(offered.values())
        return Listing(count=len(rows), rows=rows)


class CapabilityView(Shown):
    """What this cloud can do."""

    key: ClassVar[str] = "capability"

    cloudstack_version: Annotated[str, About("the version of the API")]
    security_groups_enabled: Annotated[bool, About("whether there are security groups")]
    dynamic_roles_enabled: Annotated[bool, About("whether roles can be changed")]
    support_elb: Annotated[str, About("false")] = msgspec.field(name="supportELB")
    user_public_template_enabled: Annotated[bool, About("whether users may publish templates")]
    project_invite_required: Annotated[bool, About("whether joining a project needs consent")]
    allow_user_create_projects: Annotated[bool, About("whether users may create projects")]
    custom_disk_offering_min_size: Annotated[Long, About("GiB")]
    custom_disk_offering_max_size: Annotated[Long, About("GiB")]
    region_secondary_enabled: Annotated[bool, About("whether images are kept per region")]
    kvm_snapshot_enabled: Annotated[bool, About("whether KVM machines can be snapshot")]
    allow_user_view_destroyed_vm: Annotated[bool, About("whether users see destroyed machines")]
    allow_user_expunge_recover_vm: Annotated[bool, About("whether users may expunge and recover")]
    allow_user_expunge_recover_volume: Annotated[bool, About("the same for volumes")]
    allow_user_view_all_domain_accounts: Annotated[bool, About("whether users see neighbours")]
    allow_user_force_stop_vm: Annotated[bool, About("whether users may stop by force")]
    kubernetes_service_enabled: Annotated[bool, About("whether Kubernetes clusters are offered")]
    kubernetes_cluster_experimental_features_enabled: Annotated[bool, About("false")]
    dynamic_scaling_enabled: Annotated[bool, About("whether running machines may be resized")]
    instance_lease_enabled: Annotated[bool, About("whether machines may be leased")]
    default_ui_page_size: Annotated[Long, About("entries")]


@command(
    "listCapabilities",
    answers=Answers.ENTITY,
    shows=CapabilityView,
    java="org.apache.cloudstack.api.command.user.config.ListCapabilitiesCmd",
)
class ListCapabilities(ApiCommand):
    """Lists what this cloud can do."""

    async def run(self, call: Call) -> CapabilityView:
        options = call.options
        return CapabilityView(
            cloudstack_version=SPEAKS,
            security_groups_enabled=False,
            dynamic_roles_enabled=False,
            support_elb="false",
            user_public_template_enabled=True,
            project_invite_required=True,
            allow_user_create_projects=False,
            custom_disk_offering_min_size=1,
            custom_disk_offering_max_size=1024,
            region_secondary_enabled=False,
            kvm_snapshot_enabled=False,
            allow_user_view_destroyed_vm=options.users_see_destroyed,
            allow_user_expunge_recover_vm=options.users_may_expunge,
            allow_user_expunge_recover_volume=False,
            allow_user_view_all_domain_accounts=False,
            allow_user_force_stop_vm=True,
            kubernetes_service_enabled=False,
            kubernetes_cluster_experimental_features_enabled=False,
            dynamic_scaling_enabled=False,
            instance_lease_enabled=False,
            default_ui_page_size=20,
        )


def _encoded(rank: Rank) -> dict[str, bytes]:
    """Return the entries of a rank, made once for the commands there are."""
    key = (rank, len(COMMANDS))
    if key not in _entries:
        _entries[key] = {e["name"]: msgspec.json.encode(e) for e in entries(rank)}
    return _entries[key]


def _failed(call: Call, user: User | None) -> int:
    tally = call.view.maybe(Tally, failed_logins(user.id)) if user else None
    return usage(tally).get("failed", 0)


def _locked(username: str, domain: Domain) -> Denied:
    return Denied(
        f"User {username} (or their account) in domain {domain.name} is disabled/locked. "
        "Please contact the administrator.",
        cs=0,
    )


def _offset(timezone: str) -> str | None:
    """Return the hours from UTC, as Java prints them: "-7.0" or "2.0"."""
    if not timezone:
        return None
    try:
        offset = datetime.fromtimestamp(wall(), UTC).astimezone(ZoneInfo(timezone)).utcoffset()
    except (ZoneInfoNotFoundError, ValueError):
        return None
    return str(offset.total_seconds() / 3600) if offset is not None else None


def _record(call: Call, type: str, user: User, what: str) -> None:
    fields: dict[str, Any] = {"account": user.account, "domain": user.domain, "user": user.id}
    call.change.record(
        UserEvent(
            id=new_id(),
            type=type,
            description=what,
            trace=current().trace,
            created=wall(),
            **fields,
        )
    )
