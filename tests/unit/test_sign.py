"""Signatures, against the code that real clients sign with."""

from __future__ import annotations

import base64
import hmac
from typing import Any
from urllib.parse import quote

import pytest
from cs import CloudStack  # pyright: ignore[reportMissingTypeStubs]
from hypothesis import given
from hypothesis import strategies as st
from libcloud.common.cloudstack import (  # pyright: ignore[reportMissingTypeStubs]
    CloudStackConnection,
)

from roles.api.sign import current, verified

SECRET = "s3cret"
NAMES = st.sampled_from(["name", "zoneid", "displayText", "tags[0].key", "listAll", "ids", "Name"])
VALUES = st.text(st.characters(exclude_categories=("Cs", "Cc")), max_size=12)


def signed_by_cs(params: dict[str, str]) -> dict[str, str]:
    client: Any = CloudStack(endpoint="http://x", key="k", secret=SECRET)
    signed = dict(params)
    client._sign(signed)
    return signed


def signed_by_libcloud(params: dict[str, str]) -> dict[str, str]:
    connection: Any = CloudStackConnection.__new__(CloudStackConnection)  # pyright: ignore
    connection.key = SECRET
    made: bytes = connection._make_signature(params)
    return {**params, "signature": made.decode()}


def signed_by_the_rule(params: dict[str, str]) -> dict[str, str]:
    """Java's URLEncoder, in other words than those under test."""
    plain = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789.-*_"

    def encode(value: str) -> str:
        return "".join(c if c in plain else "".join(f"%{b:02X}" for b in c.encode()) for c in value)

    text = "&".join(f"{name}={encode(params[name])}" for name in sorted(params)).lower()
    digest = hmac.digest(SECRET.encode(), text.encode(), "sha1")
    return {**params, "signature": base64.b64encode(digest).decode()}


def signed_by_go(params: dict[str, str]) -> dict[str, str]:
    """As cloudstack-go: url.QueryEscape leaves letters, digits and -_.~ alone, and + is %20."""
    pairs = [f"{name}={quote(params[name], safe='')}" for name in sorted(params)]
    digest = hmac.digest(SECRET.encode(), "&".join(pairs).lower().encode(), "sha1")
    return {**params, "signature": base64.b64encode(digest).decode()}


SIGNERS = [signed_by_cs, signed_by_libcloud, signed_by_the_rule, signed_by_go]


@pytest.mark.parametrize("signer", SIGNERS)
@given(params=st.dictionaries(NAMES, VALUES, max_size=5))
def test_what_a_client_signed_is_verified(signer: Any, params: dict[str, str]) -> None:
    if signer is signed_by_libcloud and len({n.lower() for n in params}) < len(params):
        return  # it cannot say which of two names that differ in case comes first
    assert verified(signer({"command": "listZones", "apiKey": "k", **params}), SECRET)


@given(params=st.dictionaries(NAMES, VALUES, min_size=1, max_size=4), data=st.data())
def test_what_was_changed_on_the_way_is_not(params: dict[str, str], data: st.DataObject) -> None:
    received = signed_by_cs({"command": "listZones", "apiKey": "k", **params})
    name = data.draw(st.sampled_from(sorted(params)))
    received[name] += "0"
    assert not verified(received, SECRET)


def test_another_secret_does_not_verify() -> None:
    assert not verified(signed_by_cs({"command": "listZones"}), "other")


def test_a_missing_signature_does_not_verify() -> None:
    assert not verified({"command": "listZones", "apiKey": "k"}, SECRET)


def test_the_name_of_the_signature_may_be_in_any_case() -> None:
    received = signed_by_cs({"command": "listZones"})
    received["Signature"] = received.pop("signature")
    assert verified(received, SECRET)


@pytest.mark.parametrize(
    "expires", ["2026-01-01T00:00:10+0000", "2026-01-01T00:00:10Z", "2026-01-01T02:00:10+0200",
                "2026-01-01T00:00:10.000000+0000", "2026-01-01T00:00:10 0000",
                "2026-01-01T00:00:10.000Z", "2026-01-01T00:00:10Z+0000",
                "2026-01-01T00:00:10Z 0000", "2026-01-01T00:00:10.000000000Z"]
)  # fmt: skip
def test_version_three_is_good_until_it_expires(expires: str) -> None:
    params = {"signatureversion": "3", "expires": expires}
    assert current(params, 1767225605.0)
    assert not current(params, 1767225611.0)


@pytest.mark.parametrize("expires", ["", "soon", "2026-02-30T00:00:00Z", "99999-01-01T00:00:00Z"])
def test_version_three_needs_a_date(expires: str) -> None:
    assert not current({"signatureversion": "3", "expires": expires}, 0.0)


def test_other_versions_never_expire() -> None:
    assert current({"expires": "2020-01-01T00:00:00Z"}, 1767225605.0)


def test_quoting_leaves_alone_what_java_leaves_alone() -> None:
    assert quote("a.b-c*d_e", safe="*") == "a.b-c*d_e"
