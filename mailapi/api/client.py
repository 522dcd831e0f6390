"""Which client a request comes from, behind any number of trusted proxies.

Each proxy appends the address that it saw to X-Forwarded-For, so the list is true from the right
as far as the proxies are ours; what stands further left is whatever the client wrote.
"""

from __future__ import annotations

from collections.abc import Sequence
from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network, ip_address

LOCAL = "local"


def client_address(
    peer: str, forwarded_for: list[str], trusted: Sequence[IPv4Network | IPv6Network]
) -> str:
    """The client's IP address in its shortest form, or "local" for a peer on a Unix socket.

    `peer` is the address at the other end of the connection, `forwarded_for` the values of the
    request's X-Forwarded-For headers in their order. Beginning with the peer, the first address
    that is not trusted is the client's. A malformed one ends the search at the proxy that sent it,
    and so does the end of the list.
    """
    client = _address(peer)
    if client is None:
        return LOCAL
    hops = ",".join(forwarded_for).split(",")
    while hops and any(client in network for network in trusted):
        hop = _address(hops.pop().strip(" \t"))
        if hop is None:
            break
        client = hop
    return str(client)


def _address(text: str) -> IPv4Address | IPv6Address | None:
    """IPv4-mapped addresses as IPv4; no scope, which may be any text. None if it is no address."""
    try:
        address = ip_address(text)
    except ValueError:
        return None
    if isinstance(address, IPv6Address):
        return address.ipv4_mapped or IPv6Address(int(address))
    return address
