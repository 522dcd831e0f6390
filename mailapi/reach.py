"""Which hosts sync jobs may fetch from.

Private, loopback, link-local, metadata and other addresses that are not the Internet's are refused
unless `[sync] allow_private_hosts` is set. A name is looked up once, each of its addresses is
judged, and the connection goes to one of those: what the name says later makes no difference.
"""

from __future__ import annotations

from ipaddress import IPv4Address, IPv6Address, IPv6Network, ip_address, ip_network
from typing import Final

# Addresses that hold an IPv4 address which a gateway may go on to: NAT64 (RFC 6052).
_TRANSLATED: Final = IPv6Network("64:ff9b::/96")

# IANA's registries of special-purpose addresses (iana.org/assignments/iana-ipv4-special-registry,
# iana-ipv6-special-registry), of multicast addresses, and of IPv6 address space, which has global
# unicast addresses in 2000::/3 only. `ipaddress` knows parts of them, which differ by version.
# 168.63.129.16 is a host's own agent on Azure (learn.microsoft.com, "What is IP address
# 168.63.129.16"); other clouds' metadata are inside of these.
_DENIED: Final = tuple(
    map(
        ip_network,
        (
            *("0.0.0.0/8", "10.0.0.0/8", "100.64.0.0/10", "127.0.0.0/8", "168.63.129.16/32"),
            *("169.254.0.0/16", "172.16.0.0/12", "192.0.0.0/24", "192.0.2.0/24", "192.88.99.0/24"),
            *("192.168.0.0/16", "198.18.0.0/15", "198.51.100.0/24", "203.0.113.0/24"),
            *("224.0.0.0/4", "240.0.0.0/4"),
            *("::/3", "2001::/23", "2001:db8::/32", "3fff::/20", "4000::/2", "8000::/1"),
        ),
    )
)


def public(text: str) -> bool:
    """Whether an IP address is one of the Internet; ValueError if it is none at all."""
    address = ip_address(text.partition("%")[0])
    if isinstance(address, IPv6Address):
        inner = address.ipv4_mapped or address.sixtofour or _inner(address)
        if inner is not None:
            return public(str(inner))
    denied = any(address in network for network in _DENIED if network.version == address.version)
    return address.is_global and not denied


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
    return IPv4Address(int(address) & 0xFFFFFFFF) if address in _TRANSLATED else None
