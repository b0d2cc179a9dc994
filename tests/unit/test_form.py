"""Parameters are decoded as urllib decodes them, and in one pass."""

from __future__ import annotations

import random
from urllib.parse import quote, quote_plus, unquote_plus

import pytest
from hypothesis import given
from hypothesis import strategies as st

from csnode.faults import Invalid
from roles.api.form import SMALL, decoded, named, tokens, unescaped
from roles.api.sign import encoded

ESCAPED = st.text("%+=&;ABCdef019 .~é\r\n\t", max_size=30)


@given(text=ESCAPED)
def test_a_value_is_what_urllib_says_it_is(text: str) -> None:
    assert unescaped(text.encode()) == unquote_plus(text)


@given(raw=st.binary(max_size=40))
def test_any_bytes_come_through(raw: bytes) -> None:
    assert unescaped(quote(raw, safe="").encode()) == raw.decode(errors="replace")
    assert unescaped("".join(f"%{byte:02x}" for byte in raw).encode()) == raw.decode(
        errors="replace"
    )


@given(text=st.text(st.characters(exclude_categories=("Cs",)), max_size=40))
def test_what_was_quoted_comes_back(text: str) -> None:
    assert unescaped(quote_plus(text).encode()) == text
    assert b"".join(encoded(text)) == quote(text, safe="*").replace("~", "%7e").lower().encode()


def test_long_values_come_through_whole() -> None:
    raw = random.Random(1).randbytes(200_000)
    assert unescaped(quote(raw).encode()) == raw.decode(errors="replace")
    text = raw.decode("latin-1")
    assert b"".join(encoded(text)) == quote(text, safe="*").replace("~", "%7e").lower().encode()
    shifted = b"".join(b"%%%02x" % (n % 128) for n in range(SMALL * 2))
    for start in range(4):  # wherever the pieces are cut
        assert unescaped(b"x" * start + shifted) == unquote_plus((b"x" * start + shifted).decode())


def test_a_long_value_with_a_lone_percent_is_refused() -> None:
    assert unescaped(b"100%") == "100%"
    with pytest.raises(Invalid, match="two hex digits"):
        unescaped(b"%" * (SMALL + 1))


def test_a_parameter_is_found_without_looking_at_the_others() -> None:
    pairs = tokens(b"command=listZones&apiKEY=a%2Bb&userdata=" + b"%zz" * SMALL)
    assert named(pairs, b"apikey") == "a+b"
    assert named(pairs, b"sessionkey") == named(pairs, b"userdata") == ""
    assert decoded(pairs[:2]) == {"command": "listZones", "apiKEY": "a+b"}
