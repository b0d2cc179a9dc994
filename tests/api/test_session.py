"""Logging in and out."""

from __future__ import annotations

from http.cookies import SimpleCookie
from typing import Any

import msgspec
import pytest

from csnode import clock
from csnode.model.event import UserEvent
from csnode.model.identity import Session, Standing, User
from csnode.model.stock import Tally
from roles.api.config import ApiConfig
from roles.api.envelope import Reply
from roles.api.session import digest
from tests.api import seeds
from tests.api.conftest import Desk, opened_desk

ALICE = {"username": "alice", "password": seeds.PASSWORD, "domain": "acme"}


def body(reply: Reply) -> dict[str, Any]:
    (found,) = msgspec.json.decode(reply.body).values()
    return found


def cookies(reply: Reply) -> dict[str, str]:
    jar: SimpleCookie = SimpleCookie()
    for name, value in reply.headers:
        if name == "Set-Cookie":
            jar.load(value)
    return {name: morsel.value for name, morsel in jar.items()}


async def login(desk: Desk, **params: str) -> Reply:
    return await desk.api.answer({"command": "login", "response": "json", **params})


async def use(desk: Desk, cookies: dict[str, str], **params: str) -> Reply:
    asked = {"command": "listZones", "response": "json", **params}
    return await desk.api.answer(asked, cookies=cookies)


async def test_the_cookies_are_for_this_site_alone(desk: Desk) -> None:
    """Both together are enough to act, so a browser must not send them for another site."""
    given = [value for name, value in (await login(desk, **ALICE)).headers if name == "Set-Cookie"]
    assert len(given) == 2
    assert all("HttpOnly" in value and "SameSite=Strict" in value for value in given)


@pytest.mark.parametrize(
    "domain",
    [{"domain": "acme"}, {"domain": "/acme"}, {"domain": "acme/"}, {"domain": "/acme/"},
     {"domain": "ROOT/acme"}, {"domain": "/ROOT/acme"}, {"domainid": seeds.ACME},
     {"domainId": seeds.ACME}],
)  # fmt: skip
async def test_a_user_logs_in(desk: Desk, domain: dict[str, str]) -> None:
    reply = await login(desk, username="alice", password=seeds.PASSWORD, **domain)
    found = body(reply)
    assert reply.status == 200
    assert (found["username"], found["userid"], found["account"], found["type"]) == (
        "alice", seeds.user_of(seeds.ALICE), "alice", "0")  # fmt: skip
    assert (found["timeout"], found["registered"], found["is2faenabled"]) == (
        1800, "false", "false")  # fmt: skip
    assert len(found["sessionkey"]) == 27
    assert cookies(reply)["sessionkey"] == found["sessionkey"]
    assert "timezone" not in found


async def test_the_root_domain_may_be_left_out(desk: Desk) -> None:
    for domain in ({}, {"domain": ""}, {"domain": "/"}, {"domain": "ROOT"}):
        reply = await login(desk, username="admin", password=seeds.PASSWORD, **domain)
        assert (reply.status, body(reply).get("type")) == (200, "1")


@pytest.mark.parametrize("how", ["parameter", "cookie", "both"])
async def test_a_session_is_used_with_its_key(desk: Desk, how: str) -> None:
    reply = await login(desk, **ALICE)
    jar, key = cookies(reply), body(reply)["sessionkey"]
    if how == "parameter":
        del jar["sessionkey"]
    params = {} if how == "cookie" else {"sessionkey": key}
    found = await use(desk, jar, **params)
    assert (found.status, body(found)["count"]) == (200, 1)


@pytest.mark.parametrize(
    ("given", "kept"), [({"sessionkey": "wrong"}, True), ({"sessionkey": "wrong"}, False),
                        ({}, False)]
)  # fmt: skip
async def test_a_wrong_key_ends_the_session(desk: Desk, given: Any, kept: bool) -> None:
    reply = await login(desk, **ALICE)
    jar, key = cookies(reply), body(reply)["sessionkey"]
    wrong = dict(jar) if kept else {"JSESSIONID": jar["JSESSIONID"]}
    refused = await use(desk, wrong, **given)
    assert refused.status == 401
    assert body(refused)["errortext"] == "unable to verify user credentials"
    assert (await use(desk, jar, sessionkey=key)).status == 401


async def test_only_digests_are_kept(desk: Desk) -> None:
    reply = await login(desk, **ALICE)
    jar = cookies(reply)
    (session,) = await desk.store.find(Session)
    assert session.id == digest(jar["JSESSIONID"])
    assert session.key == digest(jar["sessionkey"])


async def test_logging_out_ends_it(desk: Desk) -> None:
    jar = cookies(await login(desk, **ALICE))
    reply = await desk.api.answer({"command": "logout", "response": "json"}, cookies=jar)
    assert body(reply) == {"description": "success"}
    assert cookies(reply) == {"JSESSIONID": "", "sessionkey": ""}
    assert (await use(desk, jar)).status == 401
    assert await desk.store.find(Session) == []
    events = {e.type for e in await desk.store.find(UserEvent, account=seeds.ALICE)}
    assert events == {"USER.LOGIN", "USER.LOGOUT"}


async def test_a_session_ends_when_unused_and_lasts_when_used(
    desk: Desk, monkeypatch: pytest.MonkeyPatch
) -> None:
    start = clock.wall()
    jar = cookies(await login(desk, **ALICE))
    for later in (1700, 3300, 4900):
        monkeypatch.setattr(clock, "wall_source", lambda later=later: start + later)
        assert (await use(desk, jar)).status == 200, later
    monkeypatch.setattr(clock, "wall_source", lambda: start + 4900 + 1801)
    assert (await use(desk, jar)).status == 401
    await desk.api.forget_sessions()
    assert await desk.store.find(Session) == []


@pytest.mark.parametrize(
    ("params", "code", "text"),
    [
        ({"password": "wrong"}, 531,
         f"Failed to authenticate user alice in domain {seeds.ACME}; please provide valid "
         "credentials"),
        ({"username": "nobody"}, 531,
         f"Failed to authenticate user nobody in domain {seeds.ACME}; please provide valid "
         "credentials"),
        ({"domain": "moon"}, 531, "Unable to find the domain from the path /moon/"),
        ({"domainid": "7"}, 401, "Invalid domain id entered, please enter a valid one"),
        ({"password": ""}, 431,
         "Unable to execute API command login due to missing parameter password"),
    ],
)  # fmt: skip
async def test_a_failed_login_says_no_more_than_needed(
    desk: Desk, params: dict[str, str], code: int, text: str
) -> None:
    reply = await login(desk, **ALICE | params)
    found = body(reply)
    assert (reply.status, found["errorcode"], found["errortext"]) == (code, code, text)
    if code == 531:
        assert "cserrorcode" not in found
    assert cookies(reply) == {}


async def test_too_many_wrong_passwords_disable_a_user() -> None:
    async with opened_desk(ApiConfig(listen="", login_attempts=3)) as desk:
        for _ in range(2):
            assert (await login(desk, **ALICE | {"password": "wrong"})).status == 531
        assert (await login(desk, **ALICE)).status == 200  # which resets the count
        tally = await desk.store.get(Tally, f"login:{seeds.user_of(seeds.ALICE)}")
        assert tally.used.get("failed", 0) == 0
        for _ in range(3):
            await login(desk, **ALICE | {"password": "wrong"})
        assert (await desk.store.get(User, seeds.user_of(seeds.ALICE))).standing is (
            Standing.DISABLED)  # fmt: skip
        found = body(await login(desk, **ALICE))
        assert found["errorcode"] == 531
        assert "is disabled/locked. Please contact the administrator." in found["errortext"]


async def test_the_first_admin_is_never_locked_out() -> None:
    async with opened_desk(ApiConfig(listen="", login_attempts=1)) as desk:
        for _ in range(3):
            await login(desk, username="admin", password="wrong")
        assert (await login(desk, username="admin", password=seeds.PASSWORD)).status == 200


async def test_a_user_disabled_meanwhile_is_out(desk: Desk) -> None:
    jar = cookies(await login(desk, **ALICE))
    change = desk.store.change()
    change.update(User, seeds.user_of(seeds.ALICE), standing=Standing.DISABLED)
    await change.commit()
    assert (await use(desk, jar)).status == 401


async def test_a_time_zone_is_told_with_its_offset(desk: Desk) -> None:
    change = desk.store.change()
    change.update(User, seeds.user_of(seeds.ALICE), timezone="Asia/Kolkata")
    await change.commit()
    found = body(await login(desk, **ALICE))
    assert (found["timezone"], found["timezoneoffset"]) == ("Asia/Kolkata", "5.5")
