"""Which rows each file gets for a name."""

from __future__ import annotations

from typing import Any

import pytest
import states
from oracle import State

from mailapi import graph
from mailapi.entries import DOMAIN_FILES, FILES, OFF, PASS, TLS, USERS, entries
from mailapi.passwords import UNMATCHABLE

LOCAL, RELAY = {"domain": "a.example"}, {"domain": "mx.example", "backupmx": True}
CATCH_ALL = {"address": "@a.example", "goto": "x@b.example"}


def box(email: str, **switches: Any) -> dict[str, Any]:
    return {"email": email, "quota": 3072, **switches}


def alias(address: str, goto: str, **switches: Any) -> dict[str, Any]:
    return {"address": address, "goto": goto, **switches}


def rows(*objects: dict[str, Any], names: list[str] | None = None) -> dict[str, list[Any]]:
    """The rows of the names, or of all; files without any are left out."""
    state: State = {
        "domains": [LOCAL, RELAY],
        "mailboxes": [row for row in objects if "email" in row],
        "aliases": [row for row in objects if "address" in row],
    }
    db = states.database(state)
    wanted = list(graph.all_names(db)) if names is None else names
    found = entries(graph.load(db, wanted), wanted)
    db.close()
    return {name: lines for name, lines in found.items() if lines}


def keys(found: dict[str, list[Any]], file: str) -> dict[str, Any]:
    return {row[0]: row[1] if len(row) > 1 else None for row in found.get(file, [])}


def test_users_come_first_and_domains_last() -> None:
    """No moment may exist in which a domain is accepted and its users are unknown."""
    assert FILES[0] is USERS
    assert FILES[-2:] == DOMAIN_FILES
    assert FILES.index(DOMAIN_FILES[0]) > max(
        number for number, file in enumerate(FILES) if file.name.endswith("_maps")
    )


def test_every_file_is_there_even_without_rows() -> None:
    """The caller finds each file; names that do not exist have no row."""
    db = states.database()
    found = entries(graph.load(db, ["a@b.example", "b.example"]), ["a@b.example", "b.example"])
    assert found == {file.name: [] for file in FILES}
    db.close()


def test_a_mailbox_gets_mail_logs_in_and_sends() -> None:
    """One row in each of three files, and none in the others."""
    ann = box("ann@a.example", generation=7, password_hash="{BLF-CRYPT}hash")
    assert rows(ann, names=["ann@a.example"]) == {
        "users": [("ann@a.example", "{BLF-CRYPT}hash", 3072, 7)],
        "virtual_mailbox_maps": [("ann@a.example",)],
        "smtpd_sender_login_maps": [("ann@a.example", ("ann@a.example",))],
    }


def test_who_needs_a_new_password_gets_mail_but_cannot_log_in() -> None:
    """The hash is one that no password has; everything else is as usual."""
    found = rows(box("ann@a.example", force_pw_update=True), names=["ann@a.example"])
    assert found["users"] == [("ann@a.example", UNMATCHABLE, 3072, 1)]
    assert found["virtual_mailbox_maps"] == [("ann@a.example",)]


def test_a_mailbox_that_is_off_has_no_row() -> None:
    """Without a catch-all its absence alone makes Postfix refuse."""
    assert rows(box("ann@a.example", active=False), names=["ann@a.example"]) == {}


@pytest.mark.parametrize("active", [True, False])
def test_a_catch_all_spares_mailboxes(active: bool) -> None:
    """Each mailbox has an entry to itself; one that is off is refused, and nobody sends as it."""
    found = rows(box("ann@a.example", active=active), CATCH_ALL)
    assert keys(found, "virtual_alias_maps") == {
        "@a.example": ("x@b.example",),
        "ann@a.example": ("ann@a.example",),
    }
    assert keys(found, "recipient_access") == ({} if active else {"ann@a.example": OFF})


def test_a_catch_all_does_not_take_what_is_switched_off() -> None:
    """Aliases that are off or lead nowhere are refused too: their mail is not the catch-all's."""
    found = rows(
        CATCH_ALL,
        alias("off@a.example", "x@b.example", active=False),
        alias("dead@a.example", "gone@a.example"),
        box("gone@a.example", active=False),
    )
    assert keys(found, "recipient_access") == dict.fromkeys(
        ("off@a.example", "dead@a.example", "gone@a.example"), OFF
    )
    assert "off@a.example" not in keys(found, "virtual_alias_maps")


def test_a_catch_all_that_is_off_changes_nothing() -> None:
    """Neither entries to oneself nor refusals are needed then."""
    found = rows(
        alias("@a.example", "x@b.example", active=False),
        box("ann@a.example"),
        box("off@a.example", active=False),
    )
    assert "virtual_alias_maps" not in found
    assert "recipient_access" not in found


def test_a_tagged_alias_that_is_off_does_not_fall_to_its_base() -> None:
    """Mail to ann+x goes to ann only if there is no alias ann+x."""
    found = rows(box("ann@a.example"), alias("ann+x@a.example", "x@b.example", active=False))
    assert keys(found, "recipient_access") == {"ann+x@a.example": OFF}


def test_a_tagged_alias_and_its_base_may_both_be_off() -> None:
    """Then the base's refusal stands for both; DUNNO would let the catch-all have the mail."""
    found = rows(
        CATCH_ALL,
        box("ann@a.example", active=False),
        alias("ann+x@a.example", "x@b.example", active=False),
    )
    assert keys(found, "recipient_access") == {"ann@a.example": OFF}


def test_a_tagged_alias_is_not_refused_for_its_base() -> None:
    """What the base's row says, DUNNO keeps away from the alias: TLS, a refusal, the transport."""
    found = rows(
        box("ann@a.example", tls_enforce_in=True, tls_enforce_out=True),
        box("bob@a.example"),
        alias("ann+x@a.example", "bob@a.example"),
    )
    assert keys(found, "recipient_access") == {"ann@a.example": TLS, "ann+x@a.example": PASS}
    transports = keys(found, "sender_dependent_default_transport_maps")
    assert transports == {"ann@a.example": TLS, "ann+x@a.example": PASS}
    found = rows(
        CATCH_ALL,
        box("ann@a.example", active=False),
        alias("ann+x@a.example", "x@b.example"),
    )
    assert keys(found, "recipient_access") == {"ann@a.example": OFF, "ann+x@a.example": PASS}


def test_an_alias_leaves_out_what_is_off() -> None:
    """Targets that are switched off are left out; one with none left is not there at all."""
    found = rows(
        box("ann@a.example"),
        box("off@a.example", active=False),
        alias("some@a.example", "off@a.example,ann@a.example"),
        alias("none@a.example", "off@a.example"),
        alias("off-too@a.example", "ann@a.example", active=False),
    )
    assert keys(found, "virtual_alias_maps") == {"some@a.example": ("ann@a.example",)}
    senders = keys(found, "smtpd_sender_login_maps")
    assert set(senders) == {"ann@a.example", "some@a.example"}


def test_the_catch_alls_readers_send_as_nobody_elses_address() -> None:
    """Addresses without a log-in of ours get an owner that nobody is: themselves."""
    found = rows(
        alias("@a.example", "ann@a.example"),
        box("ann@a.example"),
        box("off@a.example", active=False),
        alias("far@a.example", "x@b.example"),
    )
    assert keys(found, "smtpd_sender_login_maps") == {
        "@a.example": ("ann@a.example",),
        "ann@a.example": ("ann@a.example",),
        "off@a.example": ("off@a.example",),
        "far@a.example": ("far@a.example",),
    }


def test_tls_is_asked_for_aliases_and_catch_alls() -> None:
    """Of an alias with one such target, whatever the others; of a catch-all the domain is the key.

    The domain's other addresses, switched on, get DUNNO before the domain is looked up.
    """
    found = rows(
        box("tls@a.example", tls_enforce_in=True),
        box("ann@a.example"),
        box("off@a.example", active=False),
        alias("info@a.example", "ann@a.example,tls@a.example,x@b.example"),
        alias("plain@a.example", "ann@a.example"),
        alias("@a.example", "info@a.example"),
    )
    assert keys(found, "recipient_access") == {
        "a.example": TLS,
        "tls@a.example": TLS,
        "info@a.example": TLS,
        "ann@a.example": PASS,
        "plain@a.example": PASS,
        "off@a.example": OFF,
    }


def test_mail_that_must_leave_over_tls_does_from_every_address() -> None:
    """From aliases too; a catch-all's key is `@domain`, and DUNNO keeps it off the others."""
    found = rows(
        box("tls@a.example", tls_enforce_out=True),
        box("ann@a.example"),
        box("off@a.example", active=False),
        alias("info@a.example", "ann@a.example,tls@a.example"),
        alias("@a.example", "tls@a.example"),
    )
    assert keys(found, "sender_dependent_default_transport_maps") == {
        "@a.example": TLS,
        "tls@a.example": TLS,
        "info@a.example": TLS,
        "ann@a.example": PASS,
    }


def test_a_backup_mx_lists_its_recipients() -> None:
    """Live mailboxes and aliases, which the primary expands; no users, owners or transports."""
    found = rows(
        box("ann@mx.example", tls_enforce_in=True, tls_enforce_out=True),
        box("off@mx.example", active=False),
        alias("info@mx.example", "ann@mx.example"),
        alias("off-too@mx.example", "ann@mx.example", active=False),
        names=["ann@mx.example", "off@mx.example", "info@mx.example", "off-too@mx.example"],
    )
    assert found == {
        "relay_recipient_maps": [("ann@mx.example",), ("info@mx.example",)],
        "recipient_access": [("ann@mx.example", TLS), ("info@mx.example", TLS)],
    }


def test_a_backup_mx_has_no_aliases_and_no_owners() -> None:
    """Its catch-all is a recipient like others, refused ones aside; its users send elsewhere."""
    found = rows(
        box("ann@a.example", tls_enforce_out=True),
        box("ann@mx.example"),
        box("off@mx.example", active=False),
        alias("@mx.example", "ann@a.example"),
        names=["@mx.example", "ann@mx.example", "off@mx.example"],
    )
    assert found == {
        "relay_recipient_maps": [("@mx.example",), ("ann@mx.example",)],
        "recipient_access": [("off@mx.example", OFF)],
    }


def test_a_backup_mx_without_recipients_takes_all() -> None:
    """`@domain` stands for every address until there is a mailbox or alias, on or off."""
    assert rows(names=["@mx.example"]) == {"relay_recipient_maps": [("@mx.example",)]}
    assert rows(box("off@mx.example", active=False), names=["@mx.example"]) == {}
    assert rows(names=["@a.example"]) == {}


def test_domains_are_local_or_relayed() -> None:
    """Each active domain stands in one of two files."""
    found = rows(names=["a.example", "mx.example"])
    assert found == {
        "virtual_mailbox_domains": [("a.example",)],
        "relay_domains": [("mx.example",)],
    }


def test_a_domain_that_is_off_has_no_row_in_any_file() -> None:
    """Nor have its mailboxes, aliases and catch-all."""
    for backupmx in (True, False):
        state: State = {
            "domains": [{"domain": "a.example", "active": False, "backupmx": backupmx}],
            "mailboxes": [box("ann@a.example", tls_enforce_in=True, tls_enforce_out=True)],
            "aliases": [CATCH_ALL, alias("info@a.example", "ann@a.example")],
        }
        db = states.database(state)
        names = list(graph.all_names(db))
        assert not any(entries(graph.load(db, names), names).values())
        db.close()
