"""An api that is told to leave finishes what it took, and sends its clients elsewhere."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator

import aiohttp

from roles.api.config import ApiConfig
from roles.api.http import LINGER_MAX_S, leaves_at
from tests.api import seeds
from tests.api.conftest import opened_desk

LOGIN = f"command=login&username=alice&password={seeds.PASSWORD}&domain=acme&response=json"
FORM = {"Content-Type": "application/x-www-form-urlencoded"}


async def test_a_request_under_way_is_answered_before_the_api_leaves() -> None:
    async with opened_desk(ApiConfig(listen="127.0.0.1:0")) as desk:
        sent = asyncio.Event()

        async def slowly() -> AsyncGenerator[bytes]:
            yield LOGIN[:10].encode()
            await sent.wait()
            yield LOGIN[10:].encode()

        url = f"http://127.0.0.1:{desk.api.port}/client/api"
        async with aiohttp.ClientSession() as session:
            asking = asyncio.create_task(session.post(url, data=slowly(), headers=FORM))
            async with asyncio.timeout(10):
                while not desk.api.http._busy:
                    await asyncio.sleep(0.005)
                leaving = asyncio.create_task(desk.api.drain())
                async with session.post(url, data=LOGIN, headers=FORM) as other:
                    assert other.headers["Connection"] == "close"
                assert not leaving.done()
                sent.set()
                async with await asking as answer:
                    assert answer.headers["Connection"] == "close"
                    assert "loginresponse" in await answer.json()
                await leaving


async def test_connections_are_kept_until_the_api_is_to_leave() -> None:
    async with opened_desk(ApiConfig(listen="127.0.0.1:0")) as desk:
        url = f"http://127.0.0.1:{desk.api.port}/client/api"
        async with (
            aiohttp.ClientSession() as session,
            session.post(url, data=LOGIN, headers=FORM) as answer,
        ):
            assert "Connection" not in answer.headers


def test_an_api_leaves_once_nobody_has_asked_it_for_a_while() -> None:
    """A balancer on a busy machine takes longer to notice than it is set to."""
    assert leaves_at(began=100.0, asked=100.0, quiet=1.0) == 101.0
    assert leaves_at(began=100.0, asked=104.5, quiet=1.0) == 105.5
    assert leaves_at(began=100.0, asked=100.0, quiet=0.0) == 100.0


def test_an_api_that_is_asked_for_ever_leaves_all_the_same() -> None:
    assert leaves_at(began=100.0, asked=500.0, quiet=1.0) == 100.0 + LINGER_MAX_S
    assert leaves_at(began=100.0, asked=500.0, quiet=45.0) == 145.0
