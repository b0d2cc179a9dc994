"""Sessions: a cookie and a key, kept as digests so that a stolen database logs nobody in."""

from __future__ import annotations

import hashlib
import hmac
from collections.abc import Mapping, Sequence

from csnode.api.call import Asked
from csnode.clock import wall
from csnode.data.change import Change
from csnode.data.store import Store
from csnode.data.view import View
from csnode.faults import Denied, Fault
from csnode.log import logger
from csnode.model.entity import Entity
from csnode.model.identity import Session
from csnode.types import UserId
from csnode.uuids import new_secret

COOKIE = "JSESSIONID"
AT_ONCE = 200  # rows that a sweep deletes in one commit
RENEW_S = 60.0  # a session in use is prolonged this often, not with every request
log = logger("api.session")


def digest(secret: str) -> str:
    """Return what is kept of a secret that is long and random, so needs no salt.

    A cookie may hold bytes that are no UTF-8, which arrive as surrogates: then it is none of ours.
    """
    return hashlib.sha256(secret.encode(errors="replace")).hexdigest()


def begin(change: Change, user: UserId, seconds: float) -> tuple[str, str]:
    """Add a new session to the change; the cookie and the sessionkey for the client."""
    cookie, key = new_secret(24), new_secret(20)
    ends = wall() + seconds
    change.create(Session(id=digest(cookie), user=user, key=digest(key), ends=ends))
    return cookie, key


def make_room(change: Change, view: View, user: UserId, most: int) -> None:
    """End the user's sessions that would end first, if he has as many as one may have."""
    held = sorted(view.by(Session, "user", user), key=lambda s: (s.ends, s.id))
    for session in held[: max(0, len(held) - most + 1)]:
        change.delete(Session, session.id)


def cookie_headers(cookie: str, key: str) -> list[tuple[str, str]]:
    """Return Set-Cookie for a new session.

    The two cookies alone are enough to act, so a browser must not send them for another site.
    """
    return [
        ("Set-Cookie", f"{COOKIE}={cookie}; Path=/client; HttpOnly; SameSite=Strict"),
        ("Set-Cookie", f"sessionkey={key}; Path=/client; HttpOnly; SameSite=Strict"),
    ]


def no_cookie_headers() -> list[tuple[str, str]]:
    """Return Set-Cookie that makes the client forget."""
    return [
        ("Set-Cookie", f'{COOKIE}=""; Path=/client; Max-Age=0'),
        ("Set-Cookie", 'sessionkey=""; Path=/client; Max-Age=0'),
    ]


def find(view: View, asked: Asked) -> Session | None:
    """Find the session that the cookie names, whether or not the key is right."""
    cookie = asked.cookies.get(COOKIE, "")
    return view.maybe(Session, digest(cookie)) if cookie else None


def key_is_right(session: Session, params: Mapping[str, str], cookies: Mapping[str, str]) -> bool:
    """Tell whether the sessionkey is right, as parameter or cookie; if both are there, both."""
    given = [k for k in (params.get("sessionkey"), cookies.get("sessionkey")) if k]
    return bool(given) and all(hmac.compare_digest(digest(k), session.key) for k in given)


async def use(store: Store, view: View, asked: Asked, seconds: float) -> Session:
    """Prolong the session of a request.

    Raises Denied (401) if there is none, and it is then over.
    """
    session = find(view, asked)
    if session is not None and session.ends > wall():
        if key_is_right(session, asked.params, asked.cookies):
            if session.ends < wall() + seconds - RENEW_S:
                await _quietly(_update(store, session, wall() + seconds))
            return session
        await _quietly(_delete(store, session))
    raise Denied("unable to verify user credentials", code=401)


async def sweep(store: Store, view: View) -> None:
    """Delete what has ended; any number of apis may do it at once."""
    ended = [session.id for session in view.all(Session) if session.ends <= wall()]
    await delete_all(store, Session, ended)


async def delete_all(store: Store, kind: type[Entity], ids: Sequence[str]) -> None:
    """Delete some at a time: nobody else's commit is to wait long for ours."""
    for start in range(0, len(ids), AT_ONCE):
        change = store.change()
        for id in ids[start : start + AT_ONCE]:
            change.delete(kind, id)
        await change.commit()


def _update(store: Store, session: Session, ends: float) -> Change:
    change = store.change()
    change.update(Session, session.id, ends=ends)
    return change


def _delete(store: Store, session: Session) -> Change:
    change = store.change()
    change.delete(Session, session.id)
    return change


async def _quietly(change: Change) -> None:
    """Commit, if it may be: another api may have ended the session meanwhile."""
    try:
        await change.commit()
    except Fault as fault:
        log.info("a session was not written", why=fault.message)
