"""Which keys of a cluster are believed, whoever says so and in whatever order."""

from __future__ import annotations

from typing import Any

import pytest
from msgspec.structs import replace

from csnode.trust.files import new_authority
from csnode.trust.succession import Succession, newest, stated

OLD, NEW, EVE = (new_authority() for _ in range(3))
CLUSTER = "c"


def public(key: Any) -> bytes:
    found: bytes = key.public_key().public_bytes_raw()
    return found


TRUSTED = {public(OLD)}
GOOD = stated(CLUSTER, (public(OLD), public(NEW)), 5, OLD)
FORGED = [
    stated(CLUSTER, (public(EVE),), 9, EVE),
    replace(stated(CLUSTER, (public(EVE),), 9, EVE), signer=public(OLD)),
    replace(GOOD, serial=9),
    replace(GOOD, keys=(public(EVE),), serial=9),
    replace(GOOD, signature=b"", serial=9),
    replace(GOOD, signature=b"x" * 64, serial=9),
    replace(GOOD, signer=b"short", serial=9),
    stated("another", (public(OLD),), 9, OLD),
    stated(CLUSTER, (), 9, OLD),
]


def test_what_one_of_the_clusters_keys_signed_holds() -> None:
    assert GOOD.holds(CLUSTER, TRUSTED)
    assert newest([GOOD.packed], CLUSTER, TRUSTED) == GOOD
    assert newest([], CLUSTER, TRUSTED) is None


@pytest.mark.parametrize("forged", FORGED)
def test_what_was_forged_or_is_of_another_cluster_is_not_believed(forged: Succession) -> None:
    """Not even as the latest of all that there are."""
    assert not forged.holds(CLUSTER, TRUSTED)
    assert newest([forged.packed], CLUSTER, TRUSTED) is None
    for texts in ([forged.packed, GOOD.packed], [GOOD.packed, forged.packed]):
        assert newest(texts, CLUSTER, TRUSTED) == GOOD


def test_a_signer_that_is_no_key_is_not_believed_though_it_is_trusted() -> None:
    assert not replace(GOOD, signer=b"short").holds(CLUSTER, {b"short"})


def test_of_several_statements_the_one_with_the_highest_serial_counts() -> None:
    later = stated(CLUSTER, (public(NEW),), 6, OLD)
    same = stated(CLUSTER, (public(NEW),), 5, OLD)
    for texts in ([GOOD.packed, later.packed], [later.packed, GOOD.packed]):
        assert newest(texts, CLUSTER, TRUSTED) == later
    assert newest([GOOD.packed, same.packed], CLUSTER, TRUSTED) == GOOD


@pytest.mark.parametrize("text", ["", "!", "AAAA", "bm90IG1zZ3BhY2s="])
def test_a_row_that_holds_no_statement_is_passed_over(text: str) -> None:
    assert newest([text, GOOD.packed], CLUSTER, TRUSTED) == GOOD


def test_a_new_key_is_believed_only_once_it_was_named_by_an_old_one() -> None:
    by_new = stated(CLUSTER, (public(NEW),), 6, NEW)
    assert newest([GOOD.packed, by_new.packed], CLUSTER, TRUSTED) == GOOD
    assert newest([GOOD.packed, by_new.packed], CLUSTER, set(GOOD.keys)) == by_new
