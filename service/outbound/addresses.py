"""Which IP addresses a user may make this service reach."""

import ipaddress
from collections.abc import Sequence
from enum import Enum

Address = ipaddress.IPv4Address | ipaddress.IPv6Address
Network = ipaddress.IPv4Network | ipaddress.IPv6Network


class Trust(Enum):
    PUBLIC = "public"
    LISTED = "listed"
    """Not public, or it need not be: the operator has named its network."""
    REFUSED = "refused"


_NAT64 = ipaddress.IPv6Network("64:ff9b::/96")
"""RFC 6052: the last 32 bits are an IPv4 address."""
_NEVER = tuple(
    map(
        ipaddress.ip_network,
        (
            "0.0.0.0/8",  # "this network": Linux takes 0.0.0.0 for the machine itself
            "169.254.0.0/16",  # link-local, and where most clouds hand out a machine's credentials
            "168.63.129.16/32",  # Azure's own, which looks public
            "192.0.0.192/32",  # Oracle's metadata
            "100.100.100.200/32",  # Alibaba's metadata
            "fd00:ec2::/32",  # Amazon's, over IPv6
            "fe80::/10",
            "::/128",
        ),
    )
)
"""No list of the operator opens these."""
_NOT_PUBLIC = tuple(
    map(
        ipaddress.ip_network,
        (
            "192.88.99.0/24",  # relays of 6to4
            "2002::/16",  # 6to4 and Teredo: an IPv4 address in disguise, and a way into networks behind a relay
            "2001::/23",
            "64:ff9b:1::/48",  # NAT64 of a local network
            "100::/64",
            "3fff::/20",
            "5f00::/16",
            "fec0::/10",
        ),
    )
)
"""What some versions of Python's `is_global` call global."""


def judge(text: str, networks: Sequence[Network] = ()) -> Trust:
    """Of a resolved address; `networks` are those that the operator opened. What is no address is refused."""
    try:
        address = _plain(ipaddress.ip_address(text.partition("%")[0]))
    except ValueError:
        return Trust.REFUSED
    if address.is_multicast or _is_in(address, _NEVER):
        return Trust.REFUSED
    if _is_in(address, networks):
        return Trust.LISTED
    if not address.is_global or address.is_reserved or _is_in(address, _NOT_PUBLIC):
        return Trust.REFUSED
    return Trust.PUBLIC


def _plain(address: Address) -> Address:
    """The IPv4 address that an IPv6 one only carries."""
    if isinstance(address, ipaddress.IPv6Address):
        if address.ipv4_mapped is not None:
            return address.ipv4_mapped
        if address in _NAT64:
            return ipaddress.IPv4Address(int(address) & 0xFFFF_FFFF)
    return address


def _is_in(address: Address, networks: Sequence[Network]) -> bool:
    return any(address in network for network in networks)
