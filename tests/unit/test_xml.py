"""Answers as XML."""

from __future__ import annotations

from typing import Annotated, Any
from xml.etree import ElementTree

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from csnode.api.about import About
from csnode.api.view import Part, Shown
from roles.api.xml import document


class Leaf(Part):
    """Within."""

    notes: Annotated[dict[str, str], About("")]


class Tree(Shown):
    """All shapes."""

    details: Annotated[dict[str, str], About("")]
    leaf: Annotated[tuple[Leaf, ...], About("")]


HEAD = '<?xml version="1.0" encoding="UTF-8"?>'


@pytest.mark.parametrize(
    ("body", "inner"),
    [
        ({}, ""),
        ({"count": 2, "thing": [{"id": "a"}, {"id": "b"}]},
         "<count>2</count><thing><id>a</id></thing><thing><id>b</id></thing>"),
        ({"thing": {"on": True, "off": False, "n": 1.5}},
         "<thing><on>true</on><off>false</off><n>1.5</n></thing>"),
        ({"success": True}, "<success>true</success>"),
        ({"jobid": "j"}, "<jobid>j</jobid>"),
        ({"startip": ["a", "b"]}, "<startip>a</startip><startip>b</startip>"),
        ({"tags": []}, ""),
        ({"t": "\"'<>&"}, "<t>&quot;&apos;&lt;&gt;&amp;</t>"),
        ({"details": {"a": "1", "b": "<2>"}, "leaf": [{"notes": {"c": "3"}}]},
         "<details>{a=1, b=&lt;2&gt;}</details><leaf><notes>{c=3}</notes></leaf>"),
        ({"uuidList": [], "errorcode": 431, "errortext": "no"},
         "<errorcode>431</errorcode><errortext>no</errortext>"),
    ],
)  # fmt: skip
def test_json_becomes_xml(body: Any, inner: str) -> None:
    made = document(msgspec.json.encode({"xresponse": body}), Tree).decode()
    opening = '<xresponse cloud-stack-version="4.22.1.0">'
    assert made == f"{HEAD}{opening}{inner}</xresponse>"


@given(text=st.text(st.characters(exclude_categories=("Cs",))))
def test_any_text_makes_xml_that_can_be_read(text: str) -> None:
    body = msgspec.json.encode({"xresponse": {"thing": [{"name": text}]}})
    found = ElementTree.fromstring(document(body, Tree)).findtext("thing/name")
    if all(c.isprintable() for c in text):
        assert found == text
