"""Request bodies: what JSON is taken and what is refused."""

from __future__ import annotations

import json
import time

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mailapi.api import body
from mailapi.errors import Malformed, UnsupportedMediaType

JSON = "application/json"
TEXT = st.text(st.characters(codec="utf-8"))
INT64 = st.integers(-(2**63), 2**63 - 1)
SCALARS = (
    st.none() | st.booleans() | INT64 | st.floats(allow_nan=False, allow_infinity=False) | TEXT
)
VALUES = st.recursive(
    SCALARS, lambda inner: st.lists(inner) | st.dictionaries(TEXT, inner), max_leaves=20
)


@given(VALUES, st.booleans())
def test_round_trip(value: object, escaped: bool) -> None:
    """What JSON can say comes back as it was, escaped or not."""
    assert body.parse(json.dumps(value, ensure_ascii=escaped).encode(), JSON) == value


@given(st.binary() | st.text().map(str.encode))
def test_any_octets_give_a_value_or_a_refusal(raw: bytes) -> None:
    """No body raises anything but Malformed, and what is taken can be written again."""
    try:
        value = body.parse(raw, JSON)
    except Malformed:
        return
    json.dumps(value, ensure_ascii=False).encode()


@pytest.mark.parametrize(
    "value",
    [
        "application/json",
        "Application/JSON",
        " application/json ; charset=utf-8",
        'application/json;charset="UTF-8"',
        "application/json; charset=utf8",
        'application/json; profile="a;charset=x"',
        "application/json;",
        "application/merge-patch+json",
        "application/json-patch+json",
    ],
)
def test_media_types_taken(value: str) -> None:
    """JSON and its +json relatives in UTF-8, however the header is written."""
    assert body.parse(b"{}", value) == {}


@pytest.mark.parametrize(
    "value",
    [
        "",
        "text/json",
        "text/plain",
        "application/x-www-form-urlencoded",
        "application/jsonx",
        "application/json, text/plain",
        "application/json; charset=latin-1",
        "application/json; charset=utf-16",
        "application/json; charset=no-such",
        "application/json; charset=",
        "application/json; charset",
        "application/json; charset=utf-8; charset=latin-1",
        "application/json\n",
        "application/json\0",
        "application/+json",
        "application/json; a=" + '"\\' * 4000,
    ],
)
def test_media_types_refused(value: str) -> None:
    """Other media types, other and unknown charsets, and what is no media type."""
    with pytest.raises(UnsupportedMediaType):
        body.parse(b"{}", value)


@pytest.mark.parametrize(
    "raw",
    [
        b"",
        b" ",
        b"{",
        b"{}{}",
        b"[1,]",
        b"{'a':1}",
        b"{a:1}",
        b"// x\n{}",
        b"01",
        b"1.",
        b"+1",
        b"\xef\xbb\xbf{}",
        b"{}\0",
        b'"\n"',
        b'"\xff"',
        b'"\xed\xa0\x80"',  # a surrogate in UTF-8
        b'"\xc0\x80"',  # overlong
        "{}".encode("utf-16"),
        b"NaN",
        b"[Infinity]",
        b'{"a":-Infinity}',
        b'{"a":1,"a":1}',
        b'[{"b":{"a":1,"\\u0061":2}}]',
        b"9223372036854775808",
        b"-9223372036854775809",
        b"1" * 5000,
        b"-" + b"1" * 5000,
        b"1e999",
        b"-1e999",
        b'"\\ud800"',
        b'"\\udc00\\ud800"',
        b'{"\\uD800":1}',
        b'"\\ud83dx"',
        b"[" * 100_000,
        b"[" * 100_000 + b"]" * 100_000,
        b'{"a":' * 100_000 + b"1" + b"}" * 100_000,
    ],
)
def test_malformed(raw: bytes) -> None:
    """What is no JSON, or JSON with more than one meaning, is refused and not repeated."""
    with pytest.raises(Malformed) as caught:
        body.parse(raw, JSON)
    assert len(raw) < 4 or raw.decode("latin-1") not in caught.value.msg


@pytest.mark.parametrize(
    ("raw", "value"),
    [
        (b"9223372036854775807", 2**63 - 1),
        (b"-9223372036854775808", -(2**63)),
        (b"0." + b"1" * 5000, float("0." + "1" * 5000)),
        (b'"\\ud83d\\ude00"', "\U0001f600"),
        (b'"\\\\ud800"', "\\ud800"),
        (b'"\\u0000"', "\0"),
        (b'[{"a":1},{"a":2}]', [{"a": 1}, {"a": 2}]),
        (b'"' + b"[" * 1000 + b'"', "[" * 1000),
        (b"[" + b"[]," * 1000 + b"[]]", [[]] * 1001),
    ],
)
def test_just_inside(raw: bytes, value: object) -> None:
    """The extremes of 64 bits, surrogate pairs, and brackets that do not nest are taken."""
    assert body.parse(raw, JSON) == value


@pytest.mark.parametrize(("begin", "end"), [(b"[", b"]"), (b'{"a":', b"}")])
def test_32_levels_and_no_more(begin: bytes, end: bytes) -> None:
    """Arrays and objects nest 32 levels deep, with a scalar inside."""
    assert body.parse(begin * 32 + b"1" + end * 32, JSON)
    assert body.parse(b"[[]," + begin * 31 + b"1" + end * 31 + b"]", JSON)
    with pytest.raises(Malformed, match="32 levels"):
        body.parse(begin * 33 + b"1" + end * 33, JSON)


def test_a_byte_order_mark_is_named() -> None:
    """The message tells what an editor does not show."""
    with pytest.raises(Malformed, match="byte order mark"):
        body.parse(b"\xef\xbb\xbf{}", JSON)


def test_the_place_of_a_mistake_is_told() -> None:
    """Line and column lead to the mistake."""
    with pytest.raises(Malformed, match="line 2, column 6"):
        body.parse(b'{\n"a": x}', JSON)


def test_an_ordinary_body_is_parsed_in_microseconds() -> None:
    """300 octets take less than 20 us in the best of many runs; 3 us are usual."""
    raw = json.dumps({f"field{number}": "x" * 12 for number in range(10)}).encode()

    def once() -> float:
        begin = time.perf_counter()
        body.parse(raw, JSON)
        return time.perf_counter() - begin

    assert len(raw) > 250
    assert min(once() for _ in range(1000)) < 20e-6
