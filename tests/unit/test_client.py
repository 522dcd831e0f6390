"""Which client a request comes from."""

from __future__ import annotations

from ipaddress import ip_network

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mailapi.api.client import LOCAL, client_address

TRUSTED = [ip_network("127.0.0.0/8"), ip_network("10.0.0.0/8"), ip_network("fd00::/8")]


@pytest.mark.parametrize(
    ("peer", "headers", "client"),
    [
        ("192.0.2.1", [], "192.0.2.1"),
        ("192.0.2.1", ["203.0.113.9"], "192.0.2.1"),  # not a proxy of ours: its word is nothing
        ("127.0.0.1", [], "127.0.0.1"),
        ("127.0.0.1", ["203.0.113.9"], "203.0.113.9"),
        ("127.0.0.1", ["198.51.100.1, 203.0.113.9"], "203.0.113.9"),  # the left one is made up
        ("127.0.0.1", ["198.51.100.1", "203.0.113.9"], "203.0.113.9"),
        ("127.0.0.1", ["203.0.113.9,10.0.0.1\t, fd00::1"], "203.0.113.9"),
        ("127.0.0.1", ["10.0.0.1, 10.0.0.2"], "10.0.0.1"),
        ("127.0.0.1", ["203.0.113.9, junk, 10.0.0.2"], "10.0.0.2"),
        ("127.0.0.1", ["203.0.113.9, junk"], "127.0.0.1"),
        ("127.0.0.1", ["203.0.113.9,"], "127.0.0.1"),
        ("127.0.0.1", [""], "127.0.0.1"),
        ("127.0.0.1", ["unknown"], "127.0.0.1"),
        ("127.0.0.1", ["010.0.0.1"], "127.0.0.1"),
        ("127.0.0.1", ["203.0.113.9\n"], "127.0.0.1"),
        ("fd00::1", ["2001:DB8:0:0::1"], "2001:db8::1"),
        ("::ffff:127.0.0.1", ["::ffff:203.0.113.9"], "203.0.113.9"),
        ("::ffff:192.0.2.1", ["203.0.113.9"], "192.0.2.1"),
        ("fe80::1%eth0", [], "fe80::1"),
        ("127.0.0.1", ["2001:db8::1%any text"], "2001:db8::1"),
        ("", ["203.0.113.9"], LOCAL),
        ("/run/mailapi/socket", [], LOCAL),
    ],
)
def test_client_address(peer: str, headers: list[str], client: str) -> None:
    """The first address from the right that is no proxy of ours is the client's."""
    assert client_address(peer, headers, TRUSTED) == client


def test_without_trusted_proxies_the_peer_is_the_client() -> None:
    """A header is read only if somebody is trusted to have written it."""
    assert client_address("127.0.0.1", ["203.0.113.9"], []) == "127.0.0.1"


@given(st.lists(st.text()), st.text())
def test_headers_are_any_text(headers: list[str], peer: str) -> None:
    """Whatever the headers hold, the result is an address or the word for a socket."""
    assert client_address(peer, headers, TRUSTED)
    assert client_address("127.0.0.1", headers, TRUSTED).isascii()


@given(st.lists(st.ip_addresses().map(str) | st.text()), st.integers(0, 255))
def test_a_client_cannot_choose_its_address(made_up: list[str], last: int) -> None:
    """What a client writes before the proxy's own entry changes nothing."""
    real = f"203.0.113.{last}"
    assert client_address("127.0.0.1", [*made_up, real], TRUSTED) == real
