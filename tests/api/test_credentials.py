"""Who is let in by an API key, or by a session: only users whose account and self are enabled."""

from __future__ import annotations

import base64
import hmac
from typing import Any
from urllib.parse import quote

import msgspec
import pytest

from csnode.model.identity import Account, Session, Standing, User
from tests.api import seeds
from tests.api.conftest import Desk

USER = seeds.user_of(seeds.ALICE)


def signed(key: str, secret: str, **params: str) -> dict[str, str]:
    """A request as clients sign it; cs itself signs nothing with an empty secret."""
    sent = {"command": "listZones", "apiKey": key, "response": "json", **params}
    text = "&".join(f"{name}={quote(sent[name], safe='')}" for name in sorted(sent)).lower()
    digest = hmac.digest(secret.encode(), text.encode(), "sha1")
    return {**sent, "signature": base64.b64encode(digest).decode()}


async def asked(desk: Desk, key: str = "alice-key", secret: str = "alice-secret") -> int:
    """The status of a request with a signature."""
    return (await desk.api.answer(signed(key, secret))).status


async def stand(desk: Desk, kind: type[Any], id: str, standing: Standing) -> None:
    change = desk.store.change()
    change.update(kind, id, standing=standing)
    await change.commit()


async def test_a_signed_request_of_an_enabled_user_is_answered(desk: Desk) -> None:
    assert await asked(desk) == 200
    assert await asked(desk, secret="bob-secret") == 401
    assert await asked(desk, key="nobodys-key") == 401


@pytest.mark.parametrize(
    ("kind", "id", "standing"),
    [(User, USER, Standing.DISABLED), (User, USER, Standing.LOCKED),
     (Account, seeds.ALICE, Standing.DISABLED), (Account, seeds.ALICE, Standing.LOCKED)],
    ids=lambda value: getattr(value, "__name__", str(value)),
)  # fmt: skip
async def test_a_disabled_caller_is_nobody(
    desk: Desk, kind: type[Any], id: str, standing: Standing
) -> None:
    """The same signature that was good is so no more, and is again once they are enabled."""
    assert await asked(desk) == 200
    await stand(desk, kind, id, standing)
    assert await asked(desk) == 401
    assert await asked(desk, key="bob-key", secret="bob-secret") == 200
    await stand(desk, kind, id, Standing.ENABLED)
    assert await asked(desk) == 200


@pytest.mark.parametrize(("kind", "id"), [(User, USER), (Account, seeds.ALICE)])
async def test_a_session_ends_with_its_users_standing(desk: Desk, kind: type[Any], id: str) -> None:
    login = {"command": "login", "username": "alice", "password": seeds.PASSWORD, "domain": "acme"}
    reply = await desk.api.answer({**login, "response": "json"})
    body = msgspec.json.decode(reply.body)["loginresponse"]
    cookies = dict(
        value.partition(";")[0].split("=", 1) for name, value in reply.headers if "Cookie" in name
    )
    ask = {"command": "listZones", "response": "json", "sessionkey": body["sessionkey"]}
    assert (await desk.api.answer(ask, cookies=cookies)).status == 200
    await stand(desk, kind, id, Standing.LOCKED)
    assert (await desk.api.answer(ask, cookies=cookies)).status == 401


async def test_a_user_without_a_secret_has_no_signature(desk: Desk) -> None:
    """An empty secret is one that everybody knows."""
    change = desk.store.change()
    change.update(User, USER, secret_key="")
    await change.commit()
    assert await asked(desk, secret="") == 401
    assert await asked(desk, secret="alice-secret") == 401


async def test_a_user_without_a_key_is_not_found_by_an_empty_one(desk: Desk) -> None:
    change = desk.store.change()
    change.update(User, USER, api_key="")
    await change.commit()
    assert await asked(desk, key="", secret="alice-secret") == 401


async def test_an_expired_request_is_not_answered(desk: Desk) -> None:
    for expires, status in (("2001-01-01T00:00:00+0000", 401), ("2101-01-01T00:00:00+0000", 200)):
        sent = signed("alice-key", "alice-secret", signatureVersion="3", expires=expires)
        assert (await desk.api.answer(sent)).status == status


async def test_a_session_that_ended_lets_nobody_in(desk: Desk) -> None:
    login = {"command": "login", "username": "alice", "password": seeds.PASSWORD, "domain": "acme"}
    reply = await desk.api.answer({**login, "response": "json"})
    (session,) = await desk.store.find(Session)
    change = desk.store.change()
    change.update(Session, session.id, ends=1.0)
    await change.commit()
    cookies = dict(
        value.partition(";")[0].split("=", 1) for name, value in reply.headers if "Cookie" in name
    )
    body = msgspec.json.decode(reply.body)["loginresponse"]
    ask = {"command": "listZones", "response": "json", "sessionkey": body["sessionkey"]}
    assert (await desk.api.answer(ask, cookies=cookies)).status == 401
