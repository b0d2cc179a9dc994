"""The API over real HTTP."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import AsyncGenerator, Generator
from contextlib import contextmanager
from io import BytesIO
from typing import Any
from urllib.parse import quote, urlencode

import aiohttp
import msgspec
import pytest
import requests
from cs import CloudStack, CloudStackApiException  # pyright: ignore[reportMissingTypeStubs]

from csnode.faults import Invalid
from csnode.listen import addresses
from csnode.model.identity import User
from roles.api.config import ApiConfig
from roles.api.form import decoded, tokens
from tests.api import seeds
from tests.api.conftest import Desk, opened_desk

NET = seeds.uuid(500)
LOGIN = {"command": "login", "username": "alice", "password": seeds.PASSWORD, "domain": "acme",
         "response": "json"}  # fmt: skip


@pytest.fixture
async def http(served: Desk) -> AsyncGenerator[aiohttp.ClientSession]:
    jar = aiohttp.CookieJar(unsafe=True)  # 127.0.0.1 has no name
    base = f"http://127.0.0.1:{served.api.port}"
    async with aiohttp.ClientSession(base, cookie_jar=jar) as session:
        yield session


async def test_a_session_works_over_cookies(http: aiohttp.ClientSession) -> None:
    for path in ("/client/api", "/client/api/"):
        async with http.post(path, data=LOGIN) as answer:
            assert answer.status == 200
            key = (await answer.json())["loginresponse"]["sessionkey"]
        async with http.get(path, params={"command": "listZones", "response": "json"}) as answer:
            assert answer.headers["Content-Type"] == "application/json; charset=UTF-8"
            assert (await answer.json())["listzonesresponse"]["count"] == 1
        asked = {"command": "logout", "sessionkey": key, "response": "json"}
        async with http.post(path, params=asked) as answer:  # as Marvin posts: an empty body
            assert await answer.json() == {"logoutresponse": {"description": "success"}}
        async with http.get(path, params={"command": "listZones", "response": "json"}) as answer:
            assert answer.status == 401


async def test_an_error_is_in_the_status_line_and_a_header(http: aiohttp.ClientSession) -> None:
    asked = {"command": "listZones", "response": "json"}
    async with http.get("/client/api", params=asked) as answer:
        text = "unable to verify user credentials and/or request signature"
        assert (answer.status, answer.reason) == (401, text)
        assert answer.headers["X-Description"] == text
        assert answer.headers["X-Content-Type-Options"] == "nosniff"


async def test_a_header_takes_no_orders(http: aiohttp.ClientSession) -> None:
    """What a client sent comes back in the status line, but as one line of ASCII."""
    evil = "x\r\nSet-Cookie: a=b\r\n\r\nü\u2028"
    asked = {"command": "login", "username": evil, "password": "x", "response": "json"}
    async with http.post("/client/api", data=asked) as answer:
        assert answer.status == 531
        assert "Set-Cookie" not in answer.headers
        assert answer.headers["X-Description"].isascii()
        body = (await answer.json())["loginresponse"]
        assert evil in body["errortext"]


async def test_a_trace_is_taken_up_or_made(http: aiohttp.ClientSession) -> None:
    trace = "0af7651916cd43dd8448eb211c80319c"
    given = {"traceparent": f"00-{trace}-b7ad6b7169203331-01"}
    async with http.get("/client/api", headers=given) as answer:
        assert answer.headers["X-Trace-Id"] == trace
    async with http.get("/client/api", headers={"traceparent": "nonsense"}) as answer:
        made = answer.headers["X-Trace-Id"]
        assert len(bytes.fromhex(made)) == 16
        assert made != trace


async def test_the_front_door_shows_the_way(http: aiohttp.ClientSession) -> None:
    async with http.get("/", allow_redirects=False) as answer:
        assert (answer.status, answer.headers["Location"]) == (302, "/client")
    async with http.get("/client") as answer:
        assert "/client/api" in await answer.text()


@pytest.mark.parametrize("method", ["PUT", "DELETE", "HEAD", "PATCH"])
async def test_other_methods_are_refused(http: aiohttp.ClientSession, method: str) -> None:
    async with http.request(method, "/client/api?command=listZones") as answer:
        assert answer.status == 405


async def test_a_body_too_large_is_refused(http: aiohttp.ClientSession) -> None:
    body = b"command=listZones&x=" + b"a" * (3 * 2**20)
    kind = {"Content-Type": "application/x-www-form-urlencoded"}
    async with http.post("/client/api", data=BytesIO(body), headers=kind) as answer:
        assert answer.status == 413
        assert "larger than 2097152 bytes" in await answer.text()


async def test_too_many_parameters_are_refused(http: aiohttp.ClientSession) -> None:
    body = "&".join(f"a{n}=1" for n in range(1001)).encode()
    kind = {"Content-Type": "application/x-www-form-urlencoded"}
    async with http.post("/client/api", data=body, headers=kind) as answer:
        assert answer.status == 413


async def test_user_data_of_a_mebibyte_comes_by_post(
    served: Desk, http: aiohttp.ClientSession
) -> None:
    async with http.post("/client/api", data=LOGIN) as answer:
        assert answer.status == 200
    asked = {"command": "deployVirtualMachine", "zoneid": seeds.ZONE, "response": "json",
             "serviceofferingid": seeds.SMALL, "templateid": seeds.IMAGE,
             "userdata": "A" * 2**20}  # fmt: skip
    kind = {"Content-Type": "application/x-www-form-urlencoded"}
    body = BytesIO(urlencode(asked).encode())
    async with http.post("/client/api", data=body, headers=kind) as answer:
        assert answer.status == 200, await answer.text()


@pytest.mark.parametrize(
    "sent",
    [
        b"GET /client/api HTTP/1.1\r\nHost: x\r\n",  # a head that never ends
        b"POST /client/api HTTP/1.1\r\nHost: x\r\nContent-Length: 9\r\n"
        b"Content-Type: application/x-www-form-urlencoded\r\n\r\ncom",
        b"",
    ],
)
async def test_a_client_that_dawdles_is_cut_off(sent: bytes) -> None:
    config = ApiConfig(listen="127.0.0.1:0", idle_seconds=0.2, body_seconds=0.2)
    async with opened_desk(config) as desk, asyncio.timeout(10):
        reader, writer = await asyncio.open_connection("127.0.0.1", desk.api.port)
        writer.write(sent)
        answer = await reader.read()  # until the server closes
        assert answer == b"" or b" 408 " in answer.split(b"\r\n")[0]
        writer.close()
        await writer.wait_closed()


FORM = b"Content-Type: application/x-www-form-urlencoded\r\n"


@pytest.mark.parametrize(
    ("sent", "status"),
    [
        (b"POST /client/api HTTP/1.1\r\nHost: x\r\nConnection: close\r\n" + FORM +
         b"Content-Encoding: gzip\r\nContent-Length: 5\r\n\r\nhello", 415),
        (b"GET /client/api?command=listZones&signature=hush\xff HTTP/1.1\r\nHost: x\r\n\r\n", 400),
        (b"GET /client/api?command=listZones HTTP/1.1\r\nHost: x\r\nConnection: close\r\n"
         b"Cookie: JSESSIONID=\xff\xfe; sessionkey=\xff\r\n\r\n", 401),
    ],
)  # fmt: skip
async def test_bytes_that_make_no_sense_are_the_clients_fault(
    served: Desk, caplog: pytest.LogCaptureFixture, sent: bytes, status: int
) -> None:
    async with asyncio.timeout(10):
        reader, writer = await asyncio.open_connection("127.0.0.1", served.api.port)
        writer.write(sent)
        answer = await reader.read()
        writer.close()
        await writer.wait_closed()
    assert answer.split()[1] == str(status).encode()
    assert not [r for r in caplog.records if r.levelname == "ERROR" or r.exc_info]
    assert "hush" not in caplog.text


async def test_a_port_in_use_is_one_clear_line() -> None:
    with socket.socket() as held:
        held.bind(("127.0.0.1", 0))
        held.listen()
        taken = held.getsockname()[1]
        with pytest.raises(Invalid) as caught:
            async with opened_desk(ApiConfig(listen=f"127.0.0.1:{taken}")):
                pass
    said = f"[api] listen: cannot serve at 127.0.0.1:{taken}: Address already in use"
    assert caught.value.message == said


@pytest.mark.parametrize(
    "listen",
    ["8080", "127.0.0.1", "host:port", "[::1", ":8080", "h:99999", "127.0.0.1:0,", "127.0.0.1:0,x"],
)
def test_an_address_that_is_none_is_named(listen: str) -> None:
    with pytest.raises(Invalid, match=r'\[api\] listen: expected "address:port"'):
        addresses("api", listen)


def test_addresses_may_be_of_either_kind_and_several() -> None:
    two = [("127.0.0.1", 8080), ("::1", 8080)]
    assert addresses("api", "127.0.0.1:8080") == two[:1]
    assert addresses("api", "127.0.0.1:8080, [::1]:8080") == two
    assert addresses("api", ("127.0.0.1:8080", "[::1]:8080")) == two


async def hello(url: str) -> int:
    async with aiohttp.ClientSession() as http, http.get(url) as answer:
        return answer.status


async def test_every_address_of_the_machine_is_ipv4_too() -> None:
    async with opened_desk(ApiConfig(listen="[::]:0")) as desk:
        for host in ("127.0.0.1", "[::1]"):
            assert await hello(f"http://{host}:{desk.api.port}/client") == 200


async def test_several_addresses_are_served_and_no_other() -> None:
    with socket.socket() as held:
        held.bind(("127.0.0.3", 0))
        port = held.getsockname()[1]
    several = (f"127.0.0.2:{port}", f"127.0.0.3:{port}")
    async with opened_desk(ApiConfig(listen=several)):
        for at in several:
            assert await hello(f"http://{at}/client") == 200
        with pytest.raises(aiohttp.ClientConnectorError):
            await hello(f"http://127.0.0.4:{port}/client")


async def test_no_address_is_served_if_one_of_several_is_taken() -> None:
    with socket.socket() as held:
        held.bind(("127.0.0.3", 0))
        held.listen()
        taken = held.getsockname()[1]
        both = f"127.0.0.2:{taken},127.0.0.3:{taken}"
        with pytest.raises(Invalid, match=f"cannot serve at 127.0.0.3:{taken}: Address already"):
            async with opened_desk(ApiConfig(listen=both)):
                pass
        with pytest.raises(aiohttp.ClientConnectorError):
            await hello(f"http://127.0.0.2:{taken}/client")


@pytest.mark.parametrize(
    ("query", "found"),
    [
        ("a=1&b=2", {"a": "1", "b": "2"}),
        ("a=1&a=2", {"a": "2"}),
        ("a&b=2&&=3", {"b": "2", "": "3"}),
        ("a=", {"a": ""}),
        ("a=b+c%2Bd%20e", {"a": "b c+d e"}),
        ("a=%C3%BC%F0%9F%98%80", {"a": "ü😀"}),
        ("tags%5B0%5D.key=k", {"tags[0].key": "k"}),
        ("a=b=c", {"a": "b=c"}),
    ],
)
def test_a_query_is_decoded(query: str, found: dict[str, str]) -> None:
    assert decoded(tokens(query.encode())) == found


def test_a_form_takes_the_first_of_two() -> None:
    assert decoded(tokens(b"a=1&a=2"), last=False) == {"a": "1"}


class Ready:
    """A node that is up, as its health routes see it."""

    ready = True

    def troubles(self) -> dict[str, tuple[str, ...]]:
        return {"api": ()}

    def warnings(self) -> dict[str, tuple[str, ...]]:
        return {}


async def test_the_nodes_health_is_told_here_too() -> None:
    async with opened_desk(ApiConfig(listen="127.0.0.1:0"), health=Ready()) as desk:
        await desk.ask("listZones")
        base = f"http://127.0.0.1:{desk.api.port}"
        async with aiohttp.ClientSession(base) as http:
            async with http.get("/readyz") as answer:
                assert (answer.status, await answer.text()) == (200, "ok\n")
            async with http.get("/metrics") as answer:
                counted = await answer.text()
    assert 'csnode_api_requests_total{code="200",command="listZones"}' in counted


async def test_an_api_that_knows_no_user_takes_no_traffic(desk: Desk) -> None:
    assert desk.api.troubles() == ()
    change = desk.store.change()
    for user in await desk.store.find(User):
        change.delete(User, user.id)
    await change.commit()
    await desk.api.view.fresh()
    assert ["no user yet" in line for line in desk.api.troubles()] == [True]


@contextmanager
def client_of(desk: Desk, method: str) -> Generator[Any]:
    """The `cs` client, as alice."""
    endpoint = f"http://127.0.0.1:{desk.api.port}/client/api"
    with requests.Session() as session:
        yield CloudStack(
            endpoint=endpoint, key="alice-key", secret="alice-secret", method=method,
            session=session,
        )  # fmt: skip


@pytest.mark.parametrize("method", ["get", "post"])
async def test_cs_lists_and_deploys(served: Desk, method: str) -> None:
    await served.plant([*seeds.network(NET), *seeds.machine(1, NET)])
    with client_of(served, method) as client:
        await _lists_and_deploys(client)


async def _lists_and_deploys(client: Any) -> None:
    async def ask(command: str, **params: Any) -> Any:
        return await asyncio.to_thread(getattr(client, command), **params)

    assert (await ask("listZones", fetch_list=True))[0]["name"] == "zone1"
    (vm,) = await ask("listVirtualMachines", fetch_list=True)
    assert (vm["name"], vm["state"]) == ("web1", "Running")
    made = await ask("deployVirtualMachine", zoneid=seeds.ZONE, serviceofferingid=seeds.SMALL,
                     templateid=seeds.IMAGE, networkids=[NET], name="two-words",
                     displayname="zwei Wörter ~ & *", fetch_result=False)  # fmt: skip
    assert set(made) == {"id", "jobid"}
    (vm,) = await ask("listVirtualMachines", id=made["id"], fetch_list=True)
    assert vm["displayname"] == "zwei Wörter ~ & *"
    assert (await ask("listApis", name="listZones"))["count"] == 1
    with pytest.raises(CloudStackApiException) as caught:
        await ask("listHosts")
    assert caught.value.error["errorcode"] == 432  # pyright: ignore


async def test_cs_pages_through_a_long_list(served: Desk) -> None:
    await served.plant(seeds.network(NET))
    await served.plant([row for n in range(620) for row in seeds.machine(n, NET)])
    with client_of(served, "get") as client:
        found = await asyncio.to_thread(client.listVirtualMachines, fetch_list=True)
    assert len({vm["id"] for vm in found}) == 620


async def test_a_wrong_secret_is_401(served: Desk, http: aiohttp.ClientSession) -> None:
    query = f"command=listZones&apiKey=alice-key&response=json&signature={quote('abc=')}"
    async with http.get(f"/client/api?{query}") as answer:
        body = msgspec.json.decode(await answer.read())["listzonesresponse"]
        assert (answer.status, body["errorcode"]) == (401, 401)


async def test_before_the_first_user_everybody_is_early_and_nobody_wrong(served: Desk) -> None:
    """A client that is told 401 believes that its keys are bad, and gives up."""
    change = served.store.change()
    for user in await served.store.find(User):
        change.delete(User, user.id)
    await change.commit()
    with client_of(served, "get") as client, pytest.raises(CloudStackApiException) as caught:
        await asyncio.to_thread(client.listZones)
    error: Any = caught.value.error  # pyright: ignore
    assert (error["errorcode"], "first user is not there yet" in error["errortext"]) == (503, True)
    login = {"command": "login", "username": "admin", "password": "password", "response": "json"}
    for params in (login, {"command": "listZones", "response": "json"}):
        assert (await served.api.answer(params)).status == 503
    long = login | {"userdata": "a" * 100_000}
    at = f"http://127.0.0.1:{served.api.port}/client/api"
    async with aiohttp.ClientSession() as http, http.post(at, data=long) as answer:
        assert answer.status == 503
