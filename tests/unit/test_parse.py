"""Parameters as text, and what is said of those that are wrong."""

from __future__ import annotations

from typing import Annotated, Any, NewType

import pytest

from csnode.api.about import About, Long, Map, Moment
from csnode.api.command import ApiCommand
from csnode.api.parse import lowered, merged, moment, table
from csnode.faults import Invalid

ThingId = NewType("ThingId", str)
ID = "0d8b3f6c-1c47-4f55-8e19-3bd1f6a5e0aa"


class Everything(ApiCommand):
    """One of each."""

    name: Annotated[str, About("")]
    note: Annotated[str | None, About("", length=5)] = None
    count: Annotated[int | None, About("")] = None
    bytes: Annotated[Long | None, About("")] = None
    share: Annotated[float | None, About("")] = None
    force: Annotated[bool, About("")] = False
    thing_id: Annotated[ThingId | None, About("")] = None
    thing_ids: Annotated[tuple[ThingId, ...], About("")] = ()
    words: Annotated[tuple[str, ...], About("")] = ()
    end_date: Annotated[Moment | None, About("")] = None
    details: Annotated[Map, About("")] = ()


TABLE = table("doEverything", Everything)


def read(**params: str) -> Any:
    return TABLE.read({"name": "x", **{lowered(k): v for k, v in params.items()}})


@pytest.mark.parametrize(
    ("name", "text", "attribute", "value"),
    [
        ("count", "7", "count", 7),
        ("count", "-1", "count", -1),
        ("COUNT", "7", "count", 7),
        ("count", "", "count", None),
        ("bytes", str(2**40), "bytes", 2**40),
        ("share", "1.5", "share", 1.5),
        ("force", "TRUE", "force", True),
        ("force", "True", "force", True),
        ("force", "yes", "force", False),
        ("force", "", "force", False),
        ("thingId", ID, "thing_id", ID),
        ("thingid", "-1", "thing_id", "-1"),
        ("thingid", "", "thing_id", None),
        ("thingids", f"{ID},,{ID}", "thing_ids", (ID, ID)),
        ("words", "a,,b", "words", ("a", "b")),
        ("note", "12345", "note", "12345"),
        ("note", "", "note", ""),
        ("note", "a\nb", "note", "a\nb"),
        ("enddate", "2026-01-01", "end_date", 1767311999.0),
        ("enddate", "2026-01-01 00:00:10", "end_date", 1767225610.0),
        ("enddate", "2026-01-01T00:00:10.000Z", "end_date", 1767225610.0),
        ("enddate", "2026-01-01T00:00:10.5Z", "end_date", 1767225610.5),
        ("enddate", "2026-01-01T00:00:10.250000000Z", "end_date", 1767225610.25),
        ("enddate", "2026-01-01T00:00:10Z+0000", "end_date", 1767225610.0),
        ("enddate", "2026-01-01T00:00:10Z 0000", "end_date", 1767225610.0),
        ("enddate", "2026-01-01T02:00:10.000+02:00", "end_date", 1767225610.0),
        ("enddate", "2026-01-01T02:00:10 0200", "end_date", 1767225610.0),
    ],
)
def test_text_becomes_a_value(name: str, text: str, attribute: str, value: Any) -> None:
    assert getattr(read(**{name: text}), attribute) == value


INVALID = "Unable to execute API command doeverything due to invalid value"
ABSENT = (
    "{i}. Invalid parameter {n} value={v} due to incorrect long value format, or entity does not "
    "exist or due to incorrect parameter annotation for the field in api cmd class."
)


@pytest.mark.parametrize(
    ("name", "text", "said"),
    [
        ("count", "seven", f"{INVALID} seven for parameter count"),
        ("count", str(2**31), f"{INVALID} {2**31} for parameter count"),
        ("bytes", "", f"{INVALID}  for parameter bytes"),
        ("bytes", str(2**63), f"{INVALID} {2**63} for parameter bytes"),
        ("share", "1e999", f"{INVALID} 1e999 for parameter share"),
        ("thingid", "7", ABSENT.format(i=INVALID, n="thingid", v="7")),
        ("thingid", ID.upper(), ABSENT.format(i=INVALID, n="thingid", v=ID.upper())),
        ("thingids", f"{ID},x", ABSENT.format(i=INVALID, n="thingids", v="x")),
        ("note", "123456", "Value greater than max allowed length 5 for param: note"),
        ("unknown", "a\tb", "Received value containing illegal ASCII non-printable characters "
                            "for parameter unknown"),
        ("note", "\x7f", "Received value containing illegal ASCII non-printable characters "
                         "for parameter note"),
        ("enddate", "1.1.2026", "Unable to parse date 1.1.2026 for command doeverything, please "
                                "pass dates in the format mentioned in the api documentation"),
    ],
)  # fmt: skip
def test_a_wrong_value_is_named(name: str, text: str, said: str) -> None:
    with pytest.raises(Invalid) as caught:
        read(**{name: text})
    assert (caught.value.message, caught.value.code, caught.value.cs) == (said, 431, 9999)


@pytest.mark.parametrize("given", [{}, {"name": ""}])
def test_a_missing_parameter_is_named(given: dict[str, str]) -> None:
    with pytest.raises(Invalid) as caught:
        TABLE.read(given)
    said = "Unable to execute API command doeverything due to missing parameter name"
    assert caught.value.message == said


def test_a_map_is_read_by_index_and_its_keys_keep_their_case() -> None:
    found = read(**{"Details[1].b": "2", "details[0].aB": "1", "details[0].c": "3"})
    assert found.details == ({"aB": "1", "c": "3"}, {"b": "2"})
    assert merged(found.details) == {"aB": "1", "c": "3", "b": "2"}


@pytest.mark.parametrize(
    "name", ["details[0]", "details[x].a", "details[0]a", "any[0][1].a", "[0].a"]
)
def test_a_broken_map_name_is_refused(name: str) -> None:
    with pytest.raises(Invalid) as caught:
        read(**{name: "1"})
    assert caught.value.code == 430
    assert caught.value.message.startswith(f"Unable to decode parameter {name}; if specifying an")


def test_unknown_parameters_are_ignored() -> None:
    assert read(nonsense="1", _="2", **{"tags[0].key": "k"}).name == "x"


@pytest.mark.parametrize("text", ["", "2026", "2026-13-01", "20260101", "2026-01-01T00:00:00",
                                  "2026-01-01T00:00:00Z+0200", "2026-01-01T00:00:00.Z",
                                  "2026-01-01 00:00:00.000", "2026-01-01 00:00:00Z",
                                  "2026-01-01T00:00:00.000", "2026-01-01T24:00:01Z",
                                  "\uff12026-01-01"])  # fmt: skip
def test_what_is_no_date_is_none(text: str) -> None:
    assert moment(text) is None
