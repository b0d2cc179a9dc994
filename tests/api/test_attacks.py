"""What somebody nobody knows can cost an api, and what a page of another site can do in it."""

from __future__ import annotations

import asyncio
import zlib
from collections.abc import AsyncGenerator, Mapping
from contextlib import asynccontextmanager
from io import BytesIO
from typing import Any
from urllib.parse import urlencode

import aiohttp
import pytest
from aiohttp.compression_utils import ZLibDecompressor

from csnode.api import passwords
from csnode.cli.client import signature
from csnode.model.event import UserEvent
from csnode.model.identity import Session, User
from roles.api import form, sign
from roles.api.config import ApiConfig
from tests.api import seeds
from tests.api.conftest import ALICE as ALICE_CALLS
from tests.api.conftest import Desk, opened_desk

KEYS: dict[str, Any] = {"api_key": "alices-key", "secret_key": "alices-secret"}
LOGIN = {"command": "login", "username": "alice", "password": seeds.PASSWORD, "domain": "acme",
         "response": "json"}  # fmt: skip
KIND = {"Content-Type": "application/x-www-form-urlencoded"}
LONG = 2_000_000


@asynccontextmanager
async def serving(**settings: Any) -> AsyncGenerator[tuple[Desk, aiohttp.ClientSession]]:
    """A desk, alice with keys at it, and a client with a jar for cookies."""
    async with opened_desk(ApiConfig(listen="127.0.0.1:0", **settings)) as desk:
        change = desk.store.change()
        change.update(User, seeds.user_of(seeds.ALICE), **KEYS)
        await change.commit()
        base = f"http://127.0.0.1:{desk.api.port}"
        jar = aiohttp.CookieJar(unsafe=True)
        async with aiohttp.ClientSession(base, cookie_jar=jar) as http:
            yield desk, http


def signed(**params: str) -> dict[str, str]:
    asked = {"response": "json", "apiKey": KEYS["api_key"], **params}
    return {**asked, "signature": signature(asked, KEYS["secret_key"])}


async def told(http: aiohttp.ClientSession, method: str = "POST", **request: Any) -> Any:
    """Status, and what is inside the answer."""
    async with http.request(method, "/client/api", **request) as answer:
        (body,) = (await answer.json(content_type=None)).values()
        return answer.status, body


# -- who is not known ------------------------------------------------------------------------


@pytest.mark.parametrize("key", ["", "&apikey=nobodys", "&APIKEY=nobodys&apikey="])
async def test_a_long_body_of_somebody_unknown_is_not_looked_at(
    monkeypatch: pytest.MonkeyPatch, key: str
) -> None:
    read: list[int] = []
    unescaped = form.unescaped

    def counted(text: bytes) -> str:
        read.append(len(text))
        return unescaped(text)

    async with serving() as (_, http):
        monkeypatch.setattr(form, "unescaped", counted)
        body = b"command=listZones&response=json&x=" + b"%ff" * (LONG // 3) + key.encode()
        status, said = await told(http, data=BytesIO(body), headers=KIND)
    assert (status, said["errorcode"]) == (401, 401)
    assert "unable to verify user credentials" in said["errortext"]
    assert sum(read) < 100, read


async def test_a_long_request_of_a_known_key_is_read_and_verified_in_a_thread(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """With a wrong signature it is refused, and a right one is taken."""
    loop = asyncio.get_running_loop()
    on_loop: list[str] = []

    def watched(name: str, inner: Any) -> Any:
        def call(*arguments: Any, **more: Any) -> Any:
            try:
                if asyncio.get_running_loop() is loop:
                    on_loop.append(name)
            except RuntimeError:
                pass
            return inner(*arguments, **more)

        return call

    async with serving() as (_, http):
        monkeypatch.setattr(sign, "verified", watched("verified", sign.verified))
        monkeypatch.setattr(form, "decoded", watched("decoded", form.decoded))
        body = b"response=json&apikey=alices-key&command=listZones&signature=x&a=" + b"~%5b" * (
            LONG // 4
        )
        assert (await told(http, data=BytesIO(body), headers=KIND))[0] == 401
        good = signed(command="listZones", keyword="~[*ü " * 20_000)
        status, said = await told(http, data=BytesIO(urlencode(good).encode()), headers=KIND)
        assert (status, "param: keyword" in said["errortext"]) == (431, True)  # it was let in
        assert on_loop == []
        assert (await told(http, data=signed(command="listZones")))[0] == 200
        assert on_loop == ["decoded", "decoded", "verified"]  # a short one is not worth a thread


async def test_user_data_of_the_size_that_cloudstack_takes_is_deployed_by_post() -> None:
    async with serving() as (_, http):
        data = "QUJD" * (1024 * 1024 // 4)
        params = signed(command="deployVirtualMachine", zoneid=seeds.uuid(1), userdata=data)
        status, said = await told(http, data=BytesIO(urlencode(params).encode()), headers=KIND)
    assert status == 431, said  # it lacks the rest, which is told to who was let in
    assert "serviceofferingid" in said["errortext"]


async def test_long_bodies_of_one_address_that_come_in_at_once_are_bounded() -> None:
    held = asyncio.Event()

    async def slowly() -> AsyncGenerator[bytes]:
        yield b"command=listZones&response=json&x="
        await held.wait()

    async with serving(bodies_max=2) as (desk, http):
        slow = [asyncio.create_task(told(http, data=slowly(), headers=KIND)) for _ in range(2)]
        while sum(desk.api.http.long_bodies.values()) < 2:
            await asyncio.sleep(0.01)
        status, said = await told(http, data=b"x=" + b"a" * 20_000, headers=KIND)
        assert (status, "try again" in said["errortext"]) == (429, True)
        assert (await told(http, data=signed(command="listZones")))[0] == 200  # a short one
        held.set()
        assert [status for status, _ in await asyncio.gather(*slow)] == [401, 401]
        assert not desk.api.http.long_bodies


@pytest.mark.parametrize("path", ["/client/api", "/client", "/nowhere"])
async def test_a_compressed_body_is_not_inflated(
    monkeypatch: pytest.MonkeyPatch, path: str
) -> None:
    inflated: list[int] = []
    inflate = ZLibDecompressor.decompress_sync

    def counted(self: ZLibDecompressor, data: bytes, *more: Any, **most: Any) -> bytes:
        inflated.append(len(data))
        return inflate(self, data, *more, **most)

    monkeypatch.setattr(ZLibDecompressor, "decompress_sync", counted)
    small = zlib.compress(b"command=listZones&response=json&x=" + b"a" * LONG)
    async with serving() as (_, http):
        for said in ("deflate", "Gzip", "br", "identity, deflate"):
            headers = {**KIND, "Content-Encoding": said}
            async with http.post(path, data=small, headers=headers) as answer:
                text = await answer.text()
                if path == "/client/api":
                    assert (answer.status, "Content-Encoding" in text) == (415, True)
        plain = {**KIND, "Content-Encoding": "identity"}
        form_ = urlencode(signed(command="listZones")).encode()
        assert (await told(http, data=form_, headers=plain))[0] == 200
    assert inflated == []


async def test_an_admins_login_waits_for_one_of_a_hundred_wrong_ones(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    checked: list[str] = []

    def counted(password: str, stored: str) -> bool:
        checked.append(password)
        return matches(password, stored)

    matches = passwords.matches
    monkeypatch.setattr(passwords, "matches", counted)
    async with serving(logins_waiting=4) as (desk, http):
        wrong = [
            asyncio.create_task(told(http, data={**LOGIN, "password": "wrong", "username": "bob"}))
            for _ in range(100)
        ]
        while desk.api.door.logins.waiting < 4:
            await asyncio.sleep(0.01)
        before = len(checked)
        assert (await told(http, data=LOGIN))[0] == 200
        assert checked[before:].index(seeds.PASSWORD) <= 3
        codes = [status for status, _ in await asyncio.gather(*wrong)]
    assert codes.count(429) >= 60, codes
    assert set(codes) <= {429, 531}


# -- limits of an account ----------------------------------------------------------------------


async def test_an_account_beyond_its_limit_is_told_when_to_try_again() -> None:
    async with serving(throttle_max=5, throttle_seconds=60.0) as (desk, http):
        mine = [await told(http, data=signed(command="listZones")) for _ in range(7)]
        assert [status for status, _ in mine] == [200] * 5 + [429] * 2
        text = "The given user has reached his/her account api limit, please retry after "
        assert mine[-1][1]["errortext"].startswith(text)
        assert mine[-1][1]["errortext"].endswith(" ms.")
        for _ in range(10):  # inside the process nobody is counted
            await desk.ask("listZones", by=ALICE_CALLS)
        change = desk.store.change()
        change.update(User, seeds.user_of(seeds.ALICE), api_key="", secret_key="")
        change.update(User, seeds.user_of(seeds.ADMIN), **KEYS)
        await change.commit()
        admins = [await told(http, data=signed(command="listZones")) for _ in range(10)]
        assert [status for status, _ in admins] == [200] * 10


# -- pages of other sites ----------------------------------------------------------------------


async def act(http: aiohttp.ClientSession, headers: Mapping[str, str], **params: str) -> Any:
    asked = {"command": "listZones", "response": "json", **params}
    return await told(http, "GET", params=asked, headers=headers)


FOREIGN = ({"Origin": "https://evil.example"}, {"Sec-Fetch-Site": "cross-site"})


@pytest.mark.parametrize("headers", FOREIGN)
async def test_a_page_of_another_site_does_nothing_in_a_session(headers: dict[str, str]) -> None:
    async with serving() as (desk, http):
        _, began = await told(http, data=LOGIN)
        key = began["sessionkey"]
        for params in (
            {"command": "logout"},
            {"command": "listZones"},
            {"command": "login"},
            {"command": "registerUserKeys", "id": seeds.user_of(seeds.ALICE)},
        ):
            status, said = await act(http, headers, sessionkey=key, **params)
            assert (status, "page of another site" in said["errortext"]) == (531, True)
        status, _ = await told(http, data=LOGIN, headers=headers)  # nor logs it somebody in
        assert status == 531
        assert (await act(http, {}, sessionkey=key))[0] == 200  # the session goes on
        [user] = [u for u in await desk.store.find(User) if u.name == "alice"]
        assert user.api_key == KEYS["api_key"]
        assert (await act(http, headers, **signed(command="listZones")))[0] == 200  # he meant it


async def test_our_own_pages_and_those_an_operator_names_act_in_a_session() -> None:
    async with serving(origins=("https://ui.example",)) as (desk, http):
        own = f"http://127.0.0.1:{desk.api.port}"
        for headers in (
            {},
            {"Origin": own},
            {"Origin": own, "Sec-Fetch-Site": "same-origin"},
            {"Origin": "https://ui.example", "Sec-Fetch-Site": "cross-site"},
        ):
            status, began = await told(http, data=LOGIN, headers=headers)
            assert status == 200, headers
            assert (await act(http, headers, sessionkey=began["sessionkey"]))[0] == 200
            said = await act(http, headers, command="logout", sessionkey=began["sessionkey"])
            assert said == (200, {"description": "success"})


@pytest.mark.parametrize("key", [{}, {"sessionkey": "guessed"}])
async def test_logout_wants_the_session_key(key: dict[str, str]) -> None:
    async with serving() as (desk, http):
        await told(http, data=LOGIN)
        [cookie] = [c for c in http.cookie_jar if c.key == "JSESSIONID"]
        bare = {"Cookie": f"JSESSIONID={cookie.value}"}
        http.cookie_jar.clear()
        status, said = await act(http, bare, command="logout", **key)
        assert (status, said["errorcode"]) == (401, 401)
        assert len(await desk.store.find(Session)) == 1
        assert [e.type for e in await desk.store.find(UserEvent)] == ["USER.LOGIN"]
        assert (await act(http, {}, command="logout"))[0] == 200  # without a session none is ended
