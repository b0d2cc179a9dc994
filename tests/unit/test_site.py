"""Whose page made a request, and which address sent it."""

from __future__ import annotations

import pytest

from roles.api.site import is_foreign, sender

HOST = {"Host": "cloud.example:8080"}


@pytest.mark.parametrize(
    "said",
    [
        {},
        {"Origin": "http://cloud.example:8080"},
        {"Origin": "HTTP://Cloud.Example:8080"},
        {"Origin": "https://cloud.example", "Host": "cloud.example"},
        {"Origin": "https://cloud.example", "Host": "cloud.example:443"},
        {"Origin": "http://[::1]:8080", "Host": "[::1]:8080"},
        {"Sec-Fetch-Site": "same-origin"},
        {"Sec-Fetch-Site": "none"},
        # Behind a proxy that changes Host: no page can make a browser say so of another site.
        {"Sec-Fetch-Site": "same-origin", "Origin": "https://cloud.example", "Host": "127.0.0.1"},
        {"Sec-Fetch-Site": "same-site", "Origin": "https://ui.example"},
    ],
)
def test_a_page_of_ours_and_a_client_without_pages_are_not_foreign(said: dict[str, str]) -> None:
    assert not is_foreign(HOST | said, ["https://ui.example/"])


@pytest.mark.parametrize(
    "said",
    [
        {"Origin": "https://evil.example"},
        {"Origin": "null"},
        {"Origin": "http://cloud.example:8081"},
        {"Origin": "https://cloud.example:8080.evil.example"},
        {"Origin": "http://cloud.example:99999"},
        {"Origin": "http://["},
        {"Origin": "https://cloud.example.evil.example", "Host": "cloud.example"},
        {"Origin": "http://cloud.example", "Host": ""},
        {"Sec-Fetch-Site": "cross-site"},
        {"Sec-Fetch-Site": "same-site"},
        {"Sec-Fetch-Site": "nonsense"},
        {"Sec-Fetch-Site": "cross-site", "Origin": "http://cloud.example:8080"},
    ],
)
def test_a_page_of_another_site_is_foreign(said: dict[str, str]) -> None:
    assert is_foreign(HOST | said, ["https://ui.example"])


@pytest.mark.parametrize(
    ("remote", "forwarded", "proxies", "sent"),
    [
        ("10.0.0.1", "", (), "10.0.0.1"),
        ("10.0.0.1", "192.0.2.7", (), "10.0.0.1"),  # whoever says so is not believed
        ("10.0.0.1", "192.0.2.7", ("10.0.0.1",), "192.0.2.7"),
        ("10.0.0.1", "1.2.3.4, 192.0.2.7", ("10.0.0.1",), "192.0.2.7"),
        ("10.0.0.1", "1.2.3.4, 192.0.2.7, 10.0.0.2", ("10.0.0.1", "10.0.0.2"), "192.0.2.7"),
        ("10.0.0.1", "10.0.0.2", ("10.0.0.1", "10.0.0.2"), "10.0.0.2"),
        ("10.0.0.1", "", ("10.0.0.1",), "10.0.0.1"),
        ("2001:db8:0:7:1:2:3:4", "", (), "2001:db8:0:7::/64"),  # a host has all of these
        ("fe80::1%eth0", "", (), "fe80::/64"),
        ("::ffff:192.0.2.7", "", (), "192.0.2.7"),  # as a socket for both kinds tells it
        ("::ffff:10.0.0.1", "192.0.2.7", ("10.0.0.1",), "192.0.2.7"),
        ("10.0.0.1", "2001:db8::1", ("10.0.0.1",), "2001:db8::/64"),
        ("2001:db8::1", "192.0.2.7", ("2001:db8::1",), "192.0.2.7"),
        ("2001:db8::1", "192.0.2.7", ("2001:db8::2",), "2001:db8::/64"),
        ("10.0.0.1", "unknown", ("10.0.0.1",), "unknown"),
        ("10.0.0.1", "[2001:db8::1]:7", ("10.0.0.1",), "[2001:db8::1]:7"),
        ("", "", (), ""),
    ],
)
def test_the_sender_is_whom_our_own_proxies_saw(
    remote: str, forwarded: str, proxies: tuple[str, ...], sent: str
) -> None:
    assert sender(remote, forwarded, proxies) == sent
