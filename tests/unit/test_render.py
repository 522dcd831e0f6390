"""Rows -> lines of text, through the templates."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from jinja2 import TemplateError

from mailapi import resources
from mailapi.entries import FILES, OFF, PASS, TLS, File, Row
from mailapi.errors import Unrenderable
from mailapi.passwords import UNMATCHABLE
from mailapi.render import Renderer

RENDERER = Renderer()
BY_NAME = {file.name: file for file in FILES}
BCRYPT = "{BLF-CRYPT}$2b$12$" + "./Az09" * 8 + "abcde"
LINES: list[tuple[str, Row, bytes]] = [
    ("virtual_mailbox_domains", ("a.example",), b"a.example OK\n"),
    ("relay_domains", ("xn--bcher-kva.example",), b"xn--bcher-kva.example OK\n"),
    ("virtual_mailbox_maps", ("o'neil@a.example",), b"o'neil@a.example OK\n"),
    ("relay_recipient_maps", ("@a.example",), b"@a.example OK\n"),
    (
        "virtual_alias_maps",
        ("info+x@a.example", ("ann@a.example", "Zoe/#!{}@b.example")),
        b"info+x@a.example ann@a.example, Zoe/#!{}@b.example\n",
    ),
    (
        "smtpd_sender_login_maps",
        ("@a.example", ("ann@a.example", "bob@a.example")),
        b"@a.example ann@a.example, bob@a.example\n",
    ),
    ("recipient_access", ("a.example", TLS), b"a.example reject_plaintext_session\n"),
    (
        "recipient_access",
        ("ann@a.example", OFF),
        b"ann@a.example 550 5.2.1 This address is switched off\n",
    ),
    ("recipient_access", ("ann@a.example", PASS), b"ann@a.example DUNNO\n"),
    (
        "sender_dependent_default_transport_maps",
        ("ann@a.example", TLS),
        b"ann@a.example mailapi-tls:\n",
    ),
    ("sender_dependent_default_transport_maps", ("ann@a.example", PASS), b"ann@a.example DUNNO\n"),
    (
        "users",
        ("ann@a.example", BCRYPT, 3072, 7),
        b"ann@a.example:" + BCRYPT.encode() + b"::::::userdb_quota_rule=*:storage=3072M "
        b"userdb_quota_storage_size=3072M userdb_mailapi_generation=7\n",
    ),
    (
        "users",
        ("ann@a.example", UNMATCHABLE, 0, 1),
        b"ann@a.example:" + UNMATCHABLE.encode() + b"::::::userdb_quota_rule=*:storage=0M "
        b"userdb_quota_storage_size=0M userdb_mailapi_generation=1\n",
    ),
]
HOSTILE = [
    "",
    " ",
    "ann@a.example ",
    "ann@a.example\n",
    "\nann@a.example",
    "ann@a.example\nroot@a.example",
    "ann@a.example\r",
    "ann@a.example\x00",
    "ann@a.example\x0b",
    "ann@a.example\x85",
    "ann@a.example\u2028",
    "ann\t@a.example",
    "ann:x@a.example",
    "ann,bob@a.example",
    '"ann"@a.example',
    "ann%b@a.example",
    "ann\\@a.example",
    "ann(x)@a.example",
    "<ann@a.example>",
    "[127.0.0.1]",
    "änn@a.example",
    "ann@bücher.example",
    "ann@a.example\u0301",
    "a" * 321,
    "{{ 7 * 7 }}",
]


@pytest.mark.parametrize(("name", "row", "line"), LINES)
def test_each_row_is_one_line(name: str, row: Row, line: bytes) -> None:
    """The bytes that Postfix and Dovecot read, exactly."""
    assert RENDERER.lines(BY_NAME[name], [row]) == [line]


@pytest.mark.parametrize("file", FILES, ids=lambda file: file.name)
def test_lines_keep_the_order_of_rows(file: File) -> None:
    """As many lines as rows, each with its newline, in their order; no row, no line."""
    row = next(row for name, row, _ in LINES if name == file.name)
    rows = [(f"{letter}.example", *row[1:]) for letter in "cab"]
    lines = RENDERER.lines(file, rows)
    assert [line[:9] for line in lines] == [b"c.example", b"a.example", b"b.example"]
    assert all(line.endswith(b"\n") and line.count(b"\n") == 1 for line in lines)
    assert RENDERER.lines(file, []) == []


def fields(row: Row) -> list[tuple[int, int | None]]:
    """Where the row has a string: its place, and the place within a tuple."""
    found: list[tuple[int, int | None]] = []
    for place, value in enumerate(row):
        if isinstance(value, tuple):
            found += [(place, inner) for inner in range(len(value))]
        elif isinstance(value, str):
            found.append((place, None))
    return found


def with_value(row: Row, place: tuple[int, int | None], value: Any) -> Row:
    changed = list(row)
    if place[1] is None:
        changed[place[0]] = value
    else:
        inner = list(row[place[0]])
        inner[place[1]] = value
        changed[place[0]] = tuple(inner)
    return tuple(changed)


PLACES = [(name, row, place) for name, row, _ in LINES for place in fields(row)]


@pytest.mark.parametrize("value", HOSTILE, ids=ascii)
def test_a_token_not_in_normal_form_is_refused_everywhere(value: str) -> None:
    """In every place of every row, before a line is made, and without repeating it."""
    for name, row, place in PLACES:
        with pytest.raises(Unrenderable) as caught:
            RENDERER.lines(BY_NAME[name], [row, with_value(row, place, value)])
        assert not value.strip() or value not in str(caught.value)


@pytest.mark.parametrize("key", ["Ann@a.example", "#ann@a.example", "/ann@a.example", "{A}x"])
def test_a_key_is_in_lower_case_and_no_comment(key: str) -> None:
    """Postfix looks for names in lower case; what a foreign address may hold, no key may."""
    for name, row, _ in LINES:
        with pytest.raises(Unrenderable):
            RENDERER.lines(BY_NAME[name], [(key, *row[1:])])


@pytest.mark.parametrize("value", [None, True, 1.5, b"ann@a.example", ["ann@a.example"], ()])
def test_other_types_are_refused(value: object) -> None:
    """Only strings, whole numbers and tuples of them, not empty, are rendered."""
    for name, row, _ in LINES:
        for place in range(1, len(row)):
            with pytest.raises(Unrenderable):
                RENDERER.lines(BY_NAME[name], [with_value(row, (place, None), value)])


@pytest.mark.parametrize(
    "value",
    ["{BLF-CRYPT}", "{blf-crypt}x", "{BLF-CRYPT}a b", "{BLF-CRYPT}a:b", "{BLF-CRYPT}a\n", "{X}%u"],
)
def test_a_hash_has_no_blank_colon_or_newline(value: str) -> None:
    """One colon more would be another field of the passwd-file."""
    with pytest.raises(Unrenderable):
        RENDERER.lines(BY_NAME["users"], [("ann@a.example", value + ":", 1, 1)])
    if not value.endswith(("}", "x")):
        with pytest.raises(Unrenderable):
            RENDERER.lines(BY_NAME["users"], [("ann@a.example", value, 1, 1)])


@pytest.mark.parametrize("action", ["other", "OK"])
def test_an_unknown_action_is_refused(action: str) -> None:
    """A template that has no word for a value fails, and nothing is rendered."""
    with pytest.raises(Unrenderable):
        RENDERER.lines(BY_NAME["recipient_access"], [("ann@a.example", action)])


@pytest.fixture
def templates(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A copy of the templates, to spoil."""
    for file in FILES:
        target = tmp_path / file.server / f"{file.name}.j2"
        target.parent.mkdir(exist_ok=True)
        target.write_bytes(resources.path("templates", file.server, target.name).read_bytes())
    monkeypatch.setattr(resources, "path", lambda *parts: tmp_path)
    return tmp_path


@pytest.mark.parametrize(
    "template",
    [
        "{% for (name,) in rows %}\n{{ name }} OK\n\n{% endfor %}\n",
        "{% for (name,) in rows %}\n{{ name }} OK\n{% endfor %}\ngenerated\n",
        "{% for (name,) in rows %}\n# {{ name }}\n{% endfor %}\n",
        "{% for (name,) in rows %}\n{{ name }}: OK\n{% endfor %}\n",
        "{% for (name,) in rows %}{{ name }} {% endfor %}\n",
        "{% for (name,) in rows %}\n{{ name }} {{ missing }}\n{% endfor %}\n",
        "{% for name in rows[1:] %}\n{{ name[0] }} OK\n{% endfor %}\n",
    ],
)
def test_a_template_that_does_not_make_one_line_of_each_row_fails(
    templates: Path, template: str
) -> None:
    """More or fewer lines, another key, a value that is missing: a fault of ours, not a file."""
    (templates / "postfix" / "relay_domains.j2").write_text(template)
    with pytest.raises(Unrenderable, match="template of relay_domains"):
        Renderer().lines(BY_NAME["relay_domains"], [("a.example",), ("b.example",)])


def test_a_missing_or_wrong_template_stops_the_start(templates: Path) -> None:
    """It is found when the renderer is made, not at the first change."""
    (templates / "postfix" / "relay_domains.j2").write_text("{% for %}")
    with pytest.raises(TemplateError):
        Renderer()
    (templates / "postfix" / "relay_domains.j2").unlink()
    with pytest.raises(TemplateError):
        Renderer()


def test_each_template_opens_with_who_reads_it() -> None:
    """A comment of the server, the manual page and an example line; one template a file."""
    root = resources.path("templates")
    found = {path.relative_to(root).as_posix() for path in root.glob("*/*.j2")}
    rendered = {f"{file.server}/{file.name}.j2" for file in FILES}
    assert rendered <= found
    for name in rendered:
        comment = (root / name).read_text().partition("#}")[0]
        assert comment.startswith("{# "), name
        assert "(5)" in comment or "Passwd-file" in comment, name
        assert "example." in comment, name
