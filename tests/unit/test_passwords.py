"""Passwords as they are kept."""

from __future__ import annotations

import pytest

from csnode.api.passwords import hashed, matches


def test_the_right_password_matches_and_another_does_not() -> None:
    stored = hashed("Grüße 1")
    assert matches("Grüße 1", stored)
    assert not matches("Grüße 2", stored)
    assert not matches("", stored)


def test_the_same_password_is_kept_differently_each_time() -> None:
    assert hashed("x") != hashed("x")


def test_its_form_is_as_documented() -> None:
    scheme, n, r, p, salt, hash = hashed("x").split("$")
    assert (scheme, n, r, p, len(salt), len(hash)) == ("scrypt", "16384", "8", "1", 32, 64)


@pytest.mark.parametrize("stored", ["", "x", "plain$1$1$1$aa$bb", "scrypt$3$8$1$aa$bb",
                                    "scrypt$16384$8$1$zz$bb", "scrypt$a$8$1$aa$bb"])  # fmt: skip
def test_what_is_no_hash_matches_nothing(stored: str) -> None:
    assert not matches("x", stored)
    assert not matches("", stored)
