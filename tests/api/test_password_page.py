"""/password: the owner of a mailbox changes the password, and nobody learns which there are."""

from __future__ import annotations

import asyncio
import html
import io
import re
import time
from typing import Any
from urllib.parse import urlencode

import bcrypt
import pytest
from hashes import HASHES, PASSWORD
from restapi import Answer, Api, canaries, domain, mailbox

from mailapi import schemes
from mailapi.batch import Job
from mailapi.caller import Caller
from mailapi.errors import Forbidden
from mailapi.web import password as page

ANN = "ann@example.com"
NEW = "quite another one"
FORM = "application/x-www-form-urlencoded"


@pytest.fixture(autouse=True)
def _quick(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(page, "PACE", 0.05)


@pytest.fixture
async def ann(filled: Api) -> Api:
    """A service where ann@example.com has a password of ours."""
    await filled.changed(f"/mailboxes/{ANN}", {"password": PASSWORD})
    return filled


async def with_ann(api: Api) -> Api:
    await api.made("/domains", domain())
    await api.made("/mailboxes", mailbox(ANN, password=PASSWORD))
    return api


async def post(api: Api, data: bytes, **headers: str) -> Answer:
    named = {"Content-Type": FORM} | {k.replace("_", "-"): v for k, v in headers.items()}
    return await api.using(None).send("POST", "/password", data=io.BytesIO(data), headers=named)


async def change(api: Api, email: str = ANN, current: str = PASSWORD, **fields: str) -> Answer:
    form = {"email": email, "current": current, "new": NEW, "repeated": NEW} | fields
    return await post(api, urlencode(form).encode())


def text(answer: Answer) -> str:
    """What the page says, without its tags, in one line."""
    assert answer.headers["Content-Type"] == "text/html; charset=utf-8"
    body = answer.text.partition("<body>")[2]
    return re.sub(r"\s+", " ", html.unescape(re.sub(r"<[^>]*>", " ", body))).strip()


def stored(api: Api, email: str = ANN) -> str:
    return str(api.rows("SELECT password_hash FROM mailbox WHERE email = ?", email)[0][0])


def is_now(api: Api, password: str, email: str = ANN) -> bool:
    """Whether this is the password, in the database and in Dovecot's file."""
    return schemes.matches(password.encode(), stored(api, email)) and (
        f"{email}:{stored(api, email)}:" in api.file("users")
    )


async def test_the_page(still: Api) -> None:
    """It is open, and a browser may load nothing with it, run nothing and frame nothing."""
    answer = await still.using(None).get("/password")
    assert answer.status == 200
    assert answer.text.count("<input ") == 4
    policy = answer.headers["Content-Security-Policy"].split("; ")
    assert {"default-src 'none'", "form-action 'self'", "frame-ancestors 'none'"} <= set(policy)
    assert not [part for part in policy if part.startswith("script-src") or "unsafe" in part]
    assert "<script" not in answer.text
    assert answer.headers["Cache-Control"] == "no-store"


async def test_the_well_known_address(still: Api) -> None:
    """Password programs are led to the page."""
    answer = await still.using(None).get("/.well-known/change-password")
    assert (answer.status, answer.headers["Location"]) == (302, "/password")


async def test_a_change(ann: Api) -> None:
    """The new password is the password when the page says so; the log names the owner."""
    answer = await change(ann, f" {ANN.title()} ")
    assert answer.status == 200
    assert f"The new password of {ANN} works from now on." in text(answer)
    assert is_now(ann, NEW)
    (line,) = (await ann.get("/changes?limit=1")).json
    assert (line["who"], line["action"], line["name"]) == ("owner", "update", ANN)
    assert line["request_id"] == answer.headers["X-Request-Id"]


async def test_the_way_out_of_force_pw_update(ann: Api) -> None:
    """The change clears the flag, and Dovecot's file has the new hash in place of none."""
    await ann.changed(f"/mailboxes/{ANN}", {"force_pw_update": True})
    assert not is_now(ann, PASSWORD)
    assert (await change(ann)).status == 200
    assert (await ann.get(f"/mailboxes/{ANN}")).json["force_pw_update"] is False
    assert is_now(ann, NEW)


@pytest.mark.parametrize("digest", HASHES)
async def test_hashes_from_elsewhere(filled: Api, digest: str) -> None:
    """The current password may have a hash of any scheme that is taken over."""
    await filled.changed(f"/mailboxes/{ANN}", {"password_hash": digest})
    assert (await change(filled, current="secretpx")).status == 403
    assert (await change(filled)).status == 200
    assert is_now(filled, NEW)


async def strangers(api: Api) -> dict[str, dict[str, str]]:
    """Forms that must all be refused in the same way, by what is wrong with them."""
    for name, fields in (("off", {"active": False}), ("backup", {"backupmx": True})):
        await api.made("/domains", domain(f"{name}.example", **fields))
        await api.made("/mailboxes", mailbox(f"user@{name}.example", password=PASSWORD))
    await api.changed("/mailboxes/bob@example.com", {"active": False, "password": PASSWORD})
    return {
        "wrong password": {"current": PASSWORD.upper()},
        "no such mailbox": {"email": "nobody@example.com"},
        "no such domain": {"email": "nobody@nowhere.example"},
        "an alias": {"email": "info@example.com"},
        "mailbox switched off": {"email": "bob@example.com"},
        "domain switched off": {"email": "user@off.example"},
        "mail is kept elsewhere": {"email": "user@backup.example"},
        "password of 5,000 octets": {"current": "x" * 5000},
        "password with NUL": {"current": f"{PASSWORD}\0"},
    }


async def test_nobody_learns_which_mailboxes_there_are(
    ann: Api, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Every refusal has one text and one status, and took the work of one hash of ours."""
    forms = await strangers(ann)
    costs: list[bytes] = []
    checkpw = bcrypt.checkpw

    def counting(password: bytes, digest: bytes) -> bool:
        costs.append(digest[:7])
        return checkpw(password, digest)

    monkeypatch.setattr(bcrypt, "checkpw", counting)
    before, said = ann.everything(), set()
    for what, fields in forms.items():
        costs.clear()
        answer = await change(ann, **fields)
        assert costs == ([] if "NUL" in what else [b"$2b$04$"]), what
        said.add((answer.status, answer.text.replace(fields.get("email", ANN), "X")))
    assert len(said) == 1
    assert ann.everything() == before


async def test_refusals_keep_pace(ann: Api, monkeypatch: pytest.MonkeyPatch) -> None:
    """A refusal comes after a whole second, so that cheap hashes from elsewhere do not show."""
    monkeypatch.setattr(page, "PACE", 0.4)
    await ann.changed("/mailboxes/bob@example.com", {"password_hash": HASHES[-1]})
    for email in ("bob@example.com", "nobody@example.com"):
        begin = time.monotonic()
        assert (await change(ann, email, "wrong")).status == 403
        assert time.monotonic() - begin >= 0.4


WRONG: list[tuple[dict[str, str], list[str]]] = [
    ({"email": ""}, ["email"]),
    ({"email": "ann"}, ["email"]),
    ({"email": '"><script>alert(1)</script>'}, ["email"]),
    ({"current": ""}, ["current"]),
    ({"new": "short", "repeated": "short"}, ["new"]),
    ({"new": "x" * 73, "repeated": "x" * 73}, ["new"]),
    ({"new": " " * 9, "repeated": " " * 9}, ["new"]),
    ({"new": "tab\tin the middle", "repeated": "tab\tin the middle"}, ["new"]),
    ({"new": PASSWORD, "repeated": PASSWORD}, ["new"]),
    ({"repeated": NEW + " "}, ["repeated"]),
    ({"repeated": ""}, ["repeated"]),
    ({"email": "", "current": "", "new": "", "repeated": ""}, ["email", "current", "new"]),
]


@pytest.mark.parametrize(("fields", "at_fault"), WRONG)
async def test_wrong_forms(ann: Api, fields: dict[str, str], at_fault: list[str]) -> None:
    """Each field at fault is named above the form and at its place; no password is sent back."""
    before = ann.everything()
    answer = await change(ann, **fields)
    assert answer.status == 400
    summary = answer.text.partition('role="alert"')[2].partition("</div>")[0]
    assert re.findall(r'href="#(\w+)"', summary) == at_fault
    for name in at_fault:
        tag = re.search(rf'<input id="{name}".*?>', answer.text, re.DOTALL)
        assert tag
        assert 'aria-invalid="true"' in tag[0]
        assert re.search(rf'aria-describedby="[^"]*{name}-error', tag[0])
        assert f'<p class="error" id="{name}-error">' in answer.text
    assert "<script" not in answer.text
    assert not re.search(r'type="password" value="[^"]', answer.text)
    assert html.escape(fields.get("email", ANN), quote=False).split('"')[0] in answer.text
    assert ann.everything() == before


async def test_the_length_is_that_of_the_configuration(start: Any) -> None:
    """[passwords] min_length holds here, too, and the page says it."""
    api = await start(passwords__min_length=12)
    await api.made("/domains", domain())
    await api.made("/mailboxes", mailbox(ANN, password_hash=HASHES[-1]))
    assert "At least 12 characters" in text(await api.get("/password"))
    form = {"new": "x" * 11, "repeated": "x" * 11}
    assert "of at least 12 characters" in text(await change(api, **form))
    assert (await change(api, **form | {"new": "x" * 12, "repeated": "x" * 12})).status == 200


GOOD = urlencode({"email": ANN, "current": PASSWORD, "new": NEW, "repeated": NEW}).encode()


@pytest.mark.parametrize(
    "headers",
    [
        {"Sec_Fetch_Site": "cross-site"},
        {"Sec_Fetch_Site": "same-site"},
        {"Sec_Fetch_Site": ""},
        {"Sec_Fetch_Site": "cross-site", "Origin": "http://127.0.0.1"},
        {"Origin": "https://evil.example"},
        {"Origin": "null"},
        {"Origin": "http://[::1"},
    ],
)
async def test_forms_of_other_sites(ann: Api, headers: dict[str, str]) -> None:
    """A browser that says another site sent the form is refused, whatever the form holds."""
    before = ann.everything()
    answer = await post(ann, GOOD, **headers)
    assert answer.status == 403
    assert "another site" in text(answer)
    assert ann.everything() == before


@pytest.mark.parametrize("headers", [{"Sec_Fetch_Site": "same-origin"}, {"Origin": "own"}, {}])
async def test_forms_of_the_page(ann: Api, headers: dict[str, str]) -> None:
    """The page's own form is taken, from browsers old and new."""
    own = f"http://127.0.0.1:{ann.port}"
    assert (
        await post(ann, GOOD, **{k: own if v == "own" else v for k, v in headers.items()})
    ).status == 200


BODIES: dict[str, tuple[int, bytes, str]] = {
    "JSON": (415, b'{"email":"ann@example.com"}', "application/json"),
    "no type": (415, GOOD, ""),
    "multipart": (415, GOOD, "multipart/form-data; boundary=x"),
    "another charset": (415, GOOD, f"{FORM}; charset=utf-7"),
    "not UTF-8": (400, GOOD + b"%ff", FORM),
    "octets not UTF-8": (400, GOOD + b"\xff", FORM),
    "half a surrogate": (400, GOOD + b"%ed%a0%80", FORM),
    "twice": (400, b"new=x&new=y", FORM),
    "another field": (400, b"new=x&admin=1", FORM),
    "many fields": (400, b"&".join(b"f%d=" % n for n in range(500)), FORM),
    "large": (413, b"email=" + b"x" * 20_000, FORM),
    "too large for anything": (413, b"email=" + b"x" * 9_000_000, FORM),
    "nothing": (400, b"", FORM),
    "no form": (400, b"%%%&&&===", FORM),
}


@pytest.mark.parametrize("name", BODIES)
async def test_hostile_bodies(still: Api, name: str) -> None:
    """What is no form of the page is refused with a page."""
    status, body, media = BODIES[name]
    answer = await post(still, body, Content_Type=media)
    assert answer.status == status
    assert text(answer)


async def test_good_media_types(ann: Api) -> None:
    """The charset may be named."""
    answer = await post(ann, GOOD, Content_Type=f"{FORM}; charset=UTF-8")
    assert answer.status == 200


async def test_guessing_is_limited_by_client(start: Any) -> None:
    """A client that tried often enough waits, whatever the mailbox; the API is not affected."""
    api = await with_ann(await start(rate_limit__auth_failures=3))
    names = [f"m{number}@example.com" for number in range(5)]
    answers = [await change(api, name) for name in names]
    assert [answer.status for answer in answers] == [403, 403, 403, 429, 429]
    assert 1 <= int(answers[-1].headers["Retry-After"]) <= 61
    assert "Too many tries" in text(answers[-1])
    assert (await api.using(None).get("/password")).status == 200
    assert (await api.get("/domains")).status == 200


@pytest.mark.parametrize("email", [ANN, "nobody@example.com"])
async def test_guessing_is_limited_by_mailbox(start: Any, email: str) -> None:
    """Clients who try one mailbox from everywhere wait, too, whether it is there or not."""
    api = await with_ann(
        await start(rate_limit__auth_failures=100, server__trusted_proxies='["127.0.0.1"]')
    )
    found = []
    for number in range(page.MAILBOX_TRIES + 1):
        form = {"email": email.upper() if number % 2 else email, "current": "wrong"}
        data = urlencode(form | {"new": NEW, "repeated": NEW}).encode()
        found.append((await post(api, data, X_Forwarded_For=f"192.0.2.{number}")).status)
    assert found == [403] * page.MAILBOX_TRIES + [429]


async def test_guesses_at_once_are_counted_before_they_are_made(start: Any) -> None:
    """Whoever tries all at once gets no more answers than whoever tries one after the other."""
    api = await with_ann(await start(rate_limit__auth_failures=3))
    answers = await asyncio.gather(*(change(api, current="wrong") for _ in range(12)))
    assert sorted(answer.status for answer in answers) == [403] * 3 + [429] * 9


async def test_many_at_once(ann: Api, monkeypatch: pytest.MonkeyPatch) -> None:
    """The page takes a part of the hashes' queue, and says when it is full."""
    monkeypatch.setattr(page, "MOST", 2)
    answers = await asyncio.gather(*(change(ann, f"m{n}@example.com") for n in range(8)))
    busy = [answer for answer in answers if answer.status != 403]
    assert busy
    for answer in busy:
        assert (answer.status, answer.headers["Retry-After"]) == (503, "5")
        assert "Try again" in text(answer)
    assert (await change(ann)).status == 200


async def test_a_change_meanwhile(ann: Api) -> None:
    """If another password was set after the current one was looked at, that one stays."""
    rule = await ann.context.changes.renew_password(ANN, stored(ann), PASSWORD, NEW)
    await ann.changed(f"/mailboxes/{ANN}", {"password": "set by the postmaster"})
    owner = Caller("owner", "owner", "write", ("example.com",))
    with pytest.raises(Forbidden):
        await ann.context.writer.submit(Job([rule], owner, "0"))
    assert is_now(ann, "set by the postmaster")


async def test_what_is_not_live_is_said(ann: Api, monkeypatch: pytest.MonkeyPatch) -> None:
    """Where the file cannot be written yet, the page does not say that the password works."""

    def full(*args: Any, **kw: Any) -> None:
        raise OSError(28, "No space left on device")

    with monkeypatch.context() as broken:
        broken.setattr("mailapi.files.os.rename", full)
        answer = await change(ann)
        assert answer.status == 202
        assert "works from now on" not in text(answer)
        assert "It will soon" in text(answer)
    assert (await ann.get(f"/status?generation={ann.generation()}&wait=20")).json["applied"]
    assert is_now(ann, NEW)


async def test_a_fault_of_ours(
    ann: Api, monkeypatch: pytest.MonkeyPatch, logged: list[Any]
) -> None:
    """What we did not expect is a page, too, which tells nothing, and is in the log."""

    def broken(*args: object) -> bool:
        raise RuntimeError("canary")

    monkeypatch.setattr(schemes, "matches", broken)
    answer = await change(ann)
    assert answer.status == 500
    assert "canary" not in answer.text
    assert [line for line in logged if line["event"] == "a fault of ours"]


async def test_nobody_sees_it(ann: Api, logged: list[Any]) -> None:
    """No password of the form stands in the log, in a file or in an answer."""
    words = {"current": "canary-current-9", "new": "canary-new-9", "repeated": "canary-rep-9"}
    refused = await change(ann, **words)
    wrong = await change(ann, **words | {"repeated": "canary-new-9"})
    await ann.changed(f"/mailboxes/{ANN}", {"password": "canary-current-9"})
    done = await change(ann, **words | {"repeated": "canary-new-9"})
    assert [answer.status for answer in (refused, wrong, done)] == [400, 403, 200]
    assert "canary" not in refused.text + wrong.text + done.text + str(logged)
    assert canaries(ann.config.state.directory.parent, *words.values()) == []
