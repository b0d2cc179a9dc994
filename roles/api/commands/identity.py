"""Users, accounts, domains, and the keys that users sign requests with."""

from __future__ import annotations

from typing import Annotated, ClassVar

from csnode.api.about import About, By, Rank
from csnode.api.call import Call
from csnode.api.command import Answers, ApiCommand, command
from csnode.api.lists import AccountList, ListCommand, OwnedList, Test
from csnode.api.reach import ALL, Scope
from csnode.api.view import Shown
from csnode.faults import Denied
from csnode.model.identity import Account, Standing, User
from csnode.types import AccountId, DomainId, UserId
from csnode.uuids import new_secret
from roles.api.views.identity import AccountView, DomainView, KeysView, UserView

KEY_BYTES = 64  # 86 characters, as long as CloudStack's


@command(
    "listUsers",
    answers=Answers.LIST,
    shows=UserView,
    java="org.apache.cloudstack.api.command.admin.user.ListUsersCmd",
)
class ListUsers(AccountList):
    """Lists users."""

    shown: ClassVar[type[Shown]] = UserView

    id: Annotated[UserId | None, About("the id of the user")] = None
    username: Annotated[str | None, About("the name that logs in"), By("name")] = None
    account_type: Annotated[int | None, About("0 user, 1 root admin, 2 domain admin")] = None
    state: Annotated[str | None, About("enabled, disabled or locked")] = None

    def tests(self, call: Call) -> list[Test]:
        tests = _standing(self.state)
        if self.account_type is not None:
            kind, view = self.account_type, call.view
            tests.append(lambda user: view.get(Account, user.account).type == kind)
        return tests

    def matches(self, row: User, keyword: str) -> bool:
        texts = (row.name, row.first_name, row.last_name, row.email)
        return any(keyword in text.lower() for text in texts)


@command(
    "listAccounts",
    answers=Answers.LIST,
    shows=AccountView,
    java="org.apache.cloudstack.api.command.user.account.ListAccountsCmd",
)
class ListAccounts(OwnedList):
    """Lists accounts, with what they use of their limits."""

    shown: ClassVar[type[Shown]] = AccountView

    id: Annotated[AccountId | None, About("the id of the account")] = None
    name: Annotated[str | None, About("the name of the account"), By("name")] = None
    account_type: Annotated[
        int | None, About("0 user, 1 root admin, 2 domain admin"), By("type")
    ] = None
    state: Annotated[str | None, About("enabled, disabled or locked")] = None
    is_cleanup_required: Annotated[bool, About("those on their way out: none")] = False
    details: Annotated[tuple[str, ...] | None, About("min, all or resource: all is shown")] = None

    def scope(self, call: Call) -> Scope:
        """Take a name for an account in the caller's own domain, even without listall."""
        own = OwnedList.scope(self, call)
        if self.name and not self.domain_id and call.caller.rank is Rank.ROOT_ADMIN:
            return ALL if self.list_all else Scope(what="in", id=call.caller.domain)
        return own

    def tests(self, call: Call) -> list[Test]:
        del call
        tests = _standing(self.state)
        return [*tests, lambda _: False] if self.is_cleanup_required else tests


@command(
    "listDomains",
    answers=Answers.LIST,
    shows=DomainView,
    allows=Rank.DOMAIN_ADMIN,
    java="org.apache.cloudstack.api.command.admin.domain.ListDomainsCmd",
)
class ListDomains(ListCommand):
    """Lists domains."""

    shown: ClassVar[type[Shown]] = DomainView

    id: Annotated[DomainId | None, About("the id of the domain")] = None
    name: Annotated[str | None, About("the name of the domain"), By("name")] = None
    level: Annotated[int | None, About("so deep in the tree; ROOT is 0"), By("level")] = None
    list_all: Annotated[bool, About("the domains below the caller's too")] = False
    details: Annotated[tuple[str, ...] | None, About("min, all or resource: all is shown")] = None

    def scope(self, call: Call) -> Scope:
        if call.caller.rank is Rank.ROOT_ADMIN:
            return ALL
        return Scope(what="under" if self.list_all else "in", id=call.caller.domain)


@command(
    "registerUserKeys",
    answers=Answers.ENTITY,
    shows=KeysView,
    event="REGISTER.USER.KEY",
    java="org.apache.cloudstack.api.command.admin.user.RegisterCmd",
)
class RegisterUserKeys(ApiCommand):
    """Gives a user new keys; the old ones are no longer good."""

    id: Annotated[UserId, About("the id of the user")]

    async def run(self, call: Call) -> KeysView:
        user = _own(call, self.id)
        keys = KeysView(api_key=new_secret(KEY_BYTES), secret_key=new_secret(KEY_BYTES))
        call.note(owner=call.view.maybe(Account, user.account))
        call.change.update(
            User,
            user.id,
            revision=user.revision,
            api_key=keys.api_key,
            secret_key=keys.secret_key,
        )
        return keys

    def again(self, call: Call) -> KeysView:
        """Return the keys as they are now: a second pair would make the first worthless."""
        return keys_of(_own(call, self.id))


@command(
    "getUserKeys",
    answers=Answers.ENTITY,
    shows=KeysView,
    since="4.10.0",
    java="org.apache.cloudstack.api.command.admin.user.GetUserKeysCmd",
)
class GetUserKeys(ApiCommand):
    """Shows a user's keys."""

    id: Annotated[UserId, About("the id of the user")]

    async def run(self, call: Call) -> KeysView:
        return keys_of(_own(call, self.id))


def keys_of(user: User) -> KeysView:
    """Return what is shown of a user's keys."""
    return KeysView(api_key=user.api_key or None, secret_key=user.secret_key or None)


def _own(call: Call, id: UserId) -> User:
    """Return the user, if the keys are the caller's business: its own, or of one it administers."""
    user, caller = call.seen(User, id), call.caller
    account = call.view.get(Account, user.account)
    if caller.rank is Rank.USER and user.id != caller.user:
        raise Denied("the keys of another user may not be seen or changed")
    if caller.rank is Rank.DOMAIN_ADMIN and user.id != caller.user and account.type == 1:
        raise Denied("the keys of a root admin may not be seen or changed")
    return user


def _standing(state: str | None) -> list[Test]:
    if not state:
        return []
    wanted = state.lower()
    known = wanted in set(Standing)
    return [lambda row: known and row.standing == wanted]
