"""What a URL with several hosts is taken apart into."""

from __future__ import annotations

import pytest

from csnode.faults import Invalid
from roles.data.postgres_hosts import each_host, standby_warning


def test_each_host_gets_a_url_of_its_own() -> None:
    assert each_host("postgresql://u:p%2C@h1,h2:5433,[::1]:5/d?sslmode=require") == (
        "postgresql://u:p%2C@h1/d?sslmode=require",
        "postgresql://u:p%2C@h2:5433/d?sslmode=require",
        "postgresql://u:p%2C@[::1]:5/d?sslmode=require",
    )
    assert each_host("postgresql://h1/d") == ("postgresql://h1/d",)
    assert each_host("postgresql:///d?host=/run/postgresql") == (
        "postgresql:///d?host=/run/postgresql",
    )


@pytest.mark.parametrize("wrong", ["postgresql://u@h1,/d", "postgresql://,h2/d"])
def test_an_empty_host_is_refused(wrong: str) -> None:
    with pytest.raises(Invalid, match="host"):
        each_host(wrong)


def test_a_warning_says_what_may_be_lost_or_what_is_waited_for() -> None:
    assert standby_warning(standbys=0, names="", connected=0) == ""
    assert "none is synchronous" in standby_warning(standbys=2, names="", connected=0)
    assert standby_warning(standbys=2, names="*", connected=1) == ""
    assert standby_warning(standbys=2, names="*", connected=None) == ""  # it may not look
    assert "waits" in standby_warning(standbys=0, names="*", connected=0)
