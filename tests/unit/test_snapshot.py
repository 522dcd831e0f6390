"""Frozen rows, and what follows from them for one address."""

from __future__ import annotations

import pytest

from mailapi.snapshot import FOREIGN, Alias, Domain, Mailbox, Snapshot

DOMAINS = {
    "a.example": Domain("a.example", active=True, backupmx=False, listed=True),
    "off.example": Domain("off.example", active=False, backupmx=False, listed=True),
    "mx.example": Domain("mx.example", active=True, backupmx=True, listed=True),
    "open.example": Domain("open.example", active=True, backupmx=True, listed=False),
    "dark.example": Domain("dark.example", active=False, backupmx=True, listed=False),
}


def box(email: str, *, active: bool = True, tls_in: bool = False, tls_out: bool = False) -> Mailbox:
    domain = email.split("@")[1]
    return Mailbox(email, domain, active, False, tls_in, tls_out, 1, 1, "{BLF-CRYPT}secret")


def alias(address: str, *targets: str, active: bool = True) -> Alias:
    return Alias(address, address.split("@")[1], active, targets)


def snapshot(*rows: Mailbox | Alias) -> Snapshot:
    boxes = {row.email: row for row in rows if isinstance(row, Mailbox)}
    aliases = {row.address: row for row in rows if isinstance(row, Alias)}
    return Snapshot(DOMAINS, boxes, aliases)


def test_a_domain_is_local_or_relay_or_off() -> None:
    """Local and relay exclude each other, and an inactive domain is neither."""
    assert [(d.local, d.relay) for d in DOMAINS.values()] == [
        (True, False),
        (False, False),
        (False, True),
        (False, True),
        (False, False),
    ]


def test_repr_shows_no_hash() -> None:
    """Neither a mailbox's nor a snapshot's text holds the hash."""
    ann = box("ann@a.example")
    assert "secret" not in repr(ann) + repr(snapshot(ann))


@pytest.mark.parametrize(
    ("target", "expected"),
    [
        ("ann@a.example", "ann@a.example"),
        ("ANN@a.example", "ann@a.example"),
        ("ann+news@a.example", "ann@a.example"),
        ("ann+news+more@a.example", "ann@a.example"),
        ("ann+own@a.example", "ann+own@a.example"),
        ("Ann+Own@a.example", "ann+own@a.example"),
        ("+ann@a.example", "@a.example"),
        ("nobody@a.example", "@a.example"),
        ("nobody+news@a.example", "@a.example"),
    ],
)
def test_find_looks_as_postfix_does(target: str, expected: str) -> None:
    """The address itself, without its tag, the catch-all; in lower case."""
    rows = box("ann@a.example"), alias("ann+own@a.example", "x@b.example")
    state = snapshot(*rows, alias("@a.example", "y@b.example"))
    found = state.find(target)
    assert isinstance(found, Mailbox | Alias)
    assert expected == (found.email if isinstance(found, Mailbox) else found.address)


def test_find_knows_foreign_domains_from_absent_addresses() -> None:
    """What is not ours is FOREIGN; what is ours and not there is None."""
    assert snapshot().find("ann@b.example") is FOREIGN
    assert snapshot().find("ann@a.example") is None
    assert snapshot().find("ann@off.example") is None


@pytest.mark.parametrize(
    ("target", "alive"),
    [
        ("ann@a.example", True),
        ("ann+tag@a.example", True),
        ("off@a.example", False),
        ("off+tag@a.example", False),
        ("nobody@a.example", False),
        ("anybody@b.example", True),
        ("ann@off.example", False),
        ("ann@mx.example", True),
        ("off@mx.example", False),
        ("nobody@mx.example", False),
        ("anybody@open.example", True),
        ("anybody@dark.example", False),
        ("to-ann@a.example", True),
        ("to-off@a.example", False),
        ("switched-off@a.example", False),
        ("through@a.example", True),
        ("to-nothing@mx.example", True),
    ],
)
def test_live_is_what_gets_somewhere(target: str, alive: bool) -> None:
    """A live mailbox or relayed recipient, an alias with a live target, a foreign address."""
    state = snapshot(
        box("ann@a.example"),
        box("off@a.example", active=False),
        box("ann@off.example"),
        box("ann@mx.example"),
        box("off@mx.example", active=False),
        alias("to-ann@a.example", "off@a.example", "ann@a.example"),
        alias("to-off@a.example", "off@a.example", "nobody@a.example", "ann@off.example"),
        alias("switched-off@a.example", "ann@a.example", active=False),
        alias("through@a.example", "to-off@a.example", "to-ann@a.example"),
        alias("to-nothing@mx.example", "off@a.example"),  # the primary MX knows better
    )
    assert state.live(target) is alive


def test_live_targets_keep_their_order() -> None:
    """The targets that are switched off are left out, the others stay as given."""
    info = alias("info@a.example", "Zoe@b.example", "off@a.example", "ann+x@a.example")
    state = snapshot(box("ann@a.example"), box("off@a.example", active=False), info)
    assert state.live_targets(info) == ("Zoe@b.example", "ann+x@a.example")


@pytest.mark.parametrize("first", ["one@a.example", "two@a.example", "three@a.example"])
def test_circles_are_cut_whatever_is_asked_first(first: str) -> None:
    """Targets that lead back are left out; what leads out of the circle stays."""
    one = alias("one@a.example", "two@a.example")
    two = alias("two@a.example", "three@a.example", "x@b.example")
    three = alias("three@a.example", "one@a.example", "three+x@a.example")
    state = snapshot(one, two, three)
    state.live(first)
    assert [state.live_targets(a) for a in (one, two, three)] == [(), ("x@b.example",), ()]
    assert [state.live(a.address) for a in (one, two, three)] == [False, True, False]


def test_a_catch_all_is_no_target_of_itself() -> None:
    """An address that only the catch-all takes is left out of the catch-all's own targets."""
    catch_all = alias("@a.example", "nobody@a.example", "x@b.example")
    assert snapshot(catch_all).live_targets(catch_all) == ("x@b.example",)


def test_an_alias_that_is_off_makes_no_circle() -> None:
    """A way back through an alias that is switched off is none."""
    one = alias("one@a.example", "two@a.example")
    two = alias("two@a.example", "off@a.example", "x@b.example")
    state = snapshot(one, two, alias("off@a.example", "one@a.example", active=False))
    assert state.live_targets(one) == ("two@a.example",)
    assert state.live_targets(two) == ("x@b.example",)


def test_a_catch_all_counts_if_it_takes_mail() -> None:
    """One that is off, or leads nowhere, is as good as none."""
    for row in (
        alias("@a.example", "x@b.example", active=False),
        alias("@a.example", "nobody@mx.example"),
    ):
        assert snapshot(row).catch_all("a.example") is None
    live = alias("@a.example", "x@b.example")
    assert snapshot(live).catch_all("a.example") is live
    assert snapshot(live).catch_all("b.example") is None


def test_logins_go_through_chains() -> None:
    """All local mailboxes that the alias leads to, once each, sorted; nobody from elsewhere."""
    state = snapshot(
        box("ann@a.example"),
        box("bob@a.example"),
        box("off@a.example", active=False),
        box("ann@off.example"),
        box("ann@mx.example"),
        alias("team@a.example", "bob@a.example", "info@a.example", "ann@mx.example"),
        alias("info@a.example", "bob+x@a.example", "ann@a.example", "x@b.example"),
        alias("gone@a.example", "off@a.example", "ann@off.example"),
        alias("off-too@a.example", "ann@a.example", active=False),
        alias("remote@mx.example", "ann@a.example"),
    )
    assert state.logins("ann@a.example") == ("ann@a.example",)
    assert state.logins("team@a.example") == ("ann@a.example", "bob@a.example")
    assert state.logins("remote@mx.example") == ("ann@a.example",)
    for name in ("gone@a.example", "off-too@a.example", "off@a.example", "ann@mx.example"):
        assert state.logins(name) == ()


def test_tls_is_wanted_by_any_reader() -> None:
    """One mailbox that wants TLS is enough, through chains and in backup MX domains too."""
    state = snapshot(
        box("ann@a.example"),
        box("tls@a.example", tls_in=True),
        box("tls@mx.example", tls_in=True),
        box("off@a.example", active=False, tls_in=True),
        alias("info@a.example", "ann@a.example", "chain@a.example"),
        alias("chain@a.example", "tls@a.example"),
        alias("far@a.example", "tls@mx.example"),
        alias("plain@a.example", "ann@a.example", "off@a.example"),
    )
    wanting = ("tls@a.example", "info@a.example", "chain@a.example", "far@a.example")
    assert all(state.tls_in(name) for name in (*wanting, "tls@mx.example", "tls+x@a.example"))
    assert not any(state.tls_in(name) for name in ("ann@a.example", "plain@a.example"))
    assert not any(state.tls_out(name) for name in wanting)


def test_tls_out_is_of_those_who_may_send() -> None:
    """A mailbox of a backup MX domain does not send here."""
    state = snapshot(
        box("tls@a.example", tls_out=True),
        box("tls@mx.example", tls_out=True),
        alias("info@a.example", "tls@a.example"),
        alias("far@a.example", "tls@mx.example"),
    )
    assert state.tls_out("info@a.example")
    assert not state.tls_out("far@a.example")
    assert not state.tls_in("info@a.example")


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("ann@a.example", ("@a.example",)),
        ("ann+x@a.example", ("ann@a.example", "@a.example")),
        ("+x@a.example", ("@a.example",)),
        ("bob+x@a.example", ("@a.example",)),
        ("@a.example", ()),
        ("ann@mx.example", ()),
    ],
)
def test_behind_an_address_come_its_base_and_the_catch_all(
    name: str, expected: tuple[str, ...]
) -> None:
    """In the order of Postfix's lookups, if they are there, without the address itself."""
    state = snapshot(box("ann@a.example"), alias("@a.example", "x@b.example"))
    assert state.behind(name) == expected


def test_a_hundred_levels_are_no_trouble() -> None:
    """The longest chain that the rules allow is followed, within the interpreter's stack."""
    chain = [alias(f"l{n}@a.example", f"l{n + 1}@a.example") for n in range(100)]
    state = snapshot(*chain, box("l100@a.example", tls_in=True))
    assert state.live("l0@a.example")
    assert state.tls_in("l0@a.example")
    assert state.logins("l0@a.example") == ("l100@a.example",)
