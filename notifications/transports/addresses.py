"""Which addresses the console may connect to on somebody's behalf. No Django.

Whoever may type an address could otherwise have the console ask what only it can reach:
its own host, the networks behind it, the metadata service of a cloud.
"""

from __future__ import annotations

import ipaddress

Address = ipaddress.IPv4Address | ipaddress.IPv6Address

#: Services that hand out a machine's credentials. Link-local ones are refused anyway;
#: these lie in ranges that a channel may be allowed, or among public addresses.
METADATA = frozenset(
    map(
        ipaddress.ip_address,
        (
            "169.254.169.254",
            "100.100.100.200",  # Alibaba
            "168.63.129.16",  # Azure, with a public address
            "192.0.0.192",  # Oracle
            "fd00:ec2::23",  # Amazon, for containers
            "fd00:ec2::254",  # Amazon
            "fd20:ce::254",  # Google
        ),
    )
)

#: Private for this purpose: a channel may be allowed these.
PRIVATE = tuple(
    map(
        ipaddress.ip_network,
        (
            "127.0.0.0/8",
            "10.0.0.0/8",
            "172.16.0.0/12",
            "192.168.0.0/16",
            # Shared addresses (RFC 6598): carriers, and networks laid over others.
            "100.64.0.0/10",
            "::1/128",
            "fc00::/7",
        ),
    )
)

#: Global unicast: all of IPv6 that has been given out (RFC 4291, 2.4). What is outside is
#: nobody's, or a network's own: fec0::/10, 64:ff9b:1::/48.
_GLOBAL = ipaddress.ip_network("2000::/3")

#: IPv6 that stands for an IPv4 address in its last 32 bits (RFC 6052).
_TRANSLATED = ipaddress.ip_network("64:ff9b::/96")
_EMBEDDING = (_TRANSLATED, ipaddress.ip_network("::/96"))

#: Reserved, though older releases of Python's ipaddress have them for global.
_RESERVED = tuple(
    map(ipaddress.ip_network, ("192.0.0.0/24", "192.88.99.0/24", "3fff::/20"))
)


def why_refused(text: str, *, allows_private: bool) -> str:
    """Return why an IP address must not be connected to; "" when it may be.

    ``allows_private`` opens this machine and private networks, and nothing else:
    link-local, multicast and reserved addresses and metadata services stay refused.
    """
    try:
        address = ipaddress.ip_address(text)
    except ValueError:
        return "is no IP address"
    return _why(address, allows_private=allows_private)


def _why(address: Address, *, allows_private: bool) -> str:
    if address in METADATA:
        return "is the metadata service of a cloud"
    if any(address in network for network in PRIVATE):
        return "" if allows_private else _kind_of_private(address)
    if isinstance(address, ipaddress.IPv6Address):
        for inner in _inside(address):
            if why := _why(inner, allows_private=allows_private):
                return f"stands for {inner}, which {why}"
    if address.is_unspecified:
        return "is no address of a machine"
    if address.is_link_local:
        return "is link-local"
    if address.is_multicast:
        return "is a multicast address"
    if _only_stands(address):
        return ""
    if not address.is_global or any(address in network for network in _RESERVED):
        return "is reserved"
    if isinstance(address, ipaddress.IPv6Address) and address not in _GLOBAL:
        return "is reserved"
    return ""


def _kind_of_private(address: Address) -> str:
    return "is this machine itself" if address.is_loopback else "is private"


def _only_stands(address: Address) -> bool:
    """Return whether it only stands for an IPv4 address, which was judged."""
    return isinstance(address, ipaddress.IPv6Address) and (
        address.ipv4_mapped is not None or address in _TRANSLATED
    )


def _inside(address: ipaddress.IPv6Address) -> list[ipaddress.IPv4Address]:
    """Return the IPv4 addresses that an IPv6 address stands for or leads through."""
    found = [address.ipv4_mapped, address.sixtofour, *(address.teredo or ())]
    if any(address in network for network in _EMBEDDING) and int(address) > 1:
        found.append(ipaddress.IPv4Address(int(address) & 0xFFFFFFFF))
    return [each for each in found if each is not None]
