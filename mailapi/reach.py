"""Which hosts sync jobs may fetch from.

Private, loopback, link-local, metadata and other addresses that are not the Internet's are refused
unless `[sync] allow_private_hosts` is set. A name is looked up once, each of its addresses is
judged, and the connection goes to one of those: what the name says later makes no difference.
"""

from __future__ import annotations

from ipaddress import IPv4Address, IPv6Address, IPv6Network, ip_address
from typing import Final

# Addresses that hold an IPv4 address which a gateway may go on to: NAT64 (RFC 6052, RFC 8215).
_TRANSLATED: Final = (IPv6Network("64:ff9b::/96"), IPv6Network("64:ff9b:1::/48"))


def public(text: str) -> bool:
    """Whether an IP address is one of the Internet; ValueError if it is none at all."""
    address = ip_address(text.partition("%")[0])
    if isinstance(address, IPv6Address):
        inner = address.ipv4_mapped or address.sixtofour or _inner(address)
        if address.teredo is not None:
            return False
        if inner is not None:
            return public(str(inner))
    return address.is_global and not address.is_multicast and not address.is_reserved


def loopback(text: str) -> bool:
    """Whether a host, as it is written, is this host itself; a name is so only as localhost."""
    try:
        return ip_address(text).is_loopback
    except ValueError:
        return text == "localhost"


def refused(host: str, allow_private: bool) -> bool:
    """Whether a host, as it is written, is refused before anything is looked up."""
    if allow_private:
        return False
    try:
        return not public(host)
    except ValueError:
        return host == "localhost" or host.endswith(".localhost")


def _inner(address: IPv6Address) -> IPv4Address | None:
    if any(address in network for network in _TRANSLATED):
        return IPv4Address(int(address) & 0xFFFFFFFF)
    return None
