"""Addresses that mean something else on each machine, the metadata server's among them: no caller leads us there."""

from ipaddress import IPv4Address, IPv6Address, ip_address
from socket import socket

_METADATA_IPV6 = IPv6Address("fd20:ce::254")  # Compute Engine's, where a VM has IPv6 alone


class LinkLocal(OSError):
    """What was asked for is at a link-local address."""


def is_link_local(address: str) -> bool:
    """Also as IPv6 writes an IPv4 address, and with a scope."""
    seen: IPv4Address | IPv6Address = ip_address(address)
    if isinstance(seen, IPv6Address):
        seen = seen.ipv4_mapped or IPv6Address(int(seen))
    return seen.is_link_local or seen == _METADATA_IPV6


def refuse_link_local(connected: socket) -> None:
    """Raise LinkLocal unless it leads elsewhere. What a name means is known for certain only once it is connected."""
    if is_link_local(peer := connected.getpeername()[0]):
        raise LinkLocal(f"{peer} is a link-local address, which no caller's address may lead to")
