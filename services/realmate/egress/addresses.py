"""The IP addresses that belong to the public Internet: the rule of the SSRF guard in `client`.

The rule names what is public and rejects everything else. IPv4 is public except the blocks of IANA's special-purpose
registry. IPv6 is public inside 2000::/3 (all that IANA has given out as global unicast) except the special blocks in
there; so every form that wraps an IPv4 address (NAT64, SIIT, IPv4-compatible, 6to4, Teredo) is rejected, wherever its
gateway would lead. The tables are ours, because `ipaddress.is_global` differs between Python's versions.

Sources: RFC 6890 and the IANA IPv4 and IPv6 Special-Purpose Address Registries (read in November 2026).
"""

from __future__ import annotations

from ipaddress import IPv4Address, IPv6Address, IPv6Network, ip_address, ip_network

_SPECIAL_IPV4 = [
    ip_network(block)
    for block in (
        "0.0.0.0/8",
        "10.0.0.0/8",
        "100.64.0.0/10",
        "127.0.0.0/8",
        "169.254.0.0/16",  # link-local, where most clouds have their metadata
        "172.16.0.0/12",
        "192.0.0.0/24",  # the metadata of Oracle's cloud (192.0.0.192) among them
        "192.0.2.0/24",
        "192.31.196.0/24",
        "192.52.193.0/24",
        "192.88.99.0/24",
        "192.168.0.0/16",
        "192.175.48.0/24",
        "198.18.0.0/15",
        "198.51.100.0/24",
        "203.0.113.0/24",
        "224.0.0.0/4",
        "240.0.0.0/4",
        "168.63.129.16/32",  # Azure's metadata: a public address that answers only inside Azure
    )
]
_GLOBAL_UNICAST = IPv6Network("2000::/3")
_SPECIAL_IPV6 = [
    ip_network(block)
    for block in (
        "2001::/23",  # IETF protocol assignments: Teredo, benchmarking, ORCHID
        "2001:db8::/32",
        "2002::/16",  # 6to4
        "2620:4f:8000::/48",
        "3fff::/20",
    )
]
_ISATAP = (0x00005EFE, 0x02005EFE)
"""The upper half of an interface identifier whose lower half is an IPv4 address (RFC 5214, 6.1)."""


def is_public(address: str) -> bool:
    """Whether the address, as `getaddrinfo` writes it, belongs to the public Internet.

    Raises ValueError for other text.
    """
    ip = ip_address(address.partition("%")[0])
    if isinstance(ip, IPv4Address):
        return not any(ip in block for block in _SPECIAL_IPV4)
    if ip.ipv4_mapped is not None:  # the system connects to it as to the IPv4 address
        return is_public(str(ip.ipv4_mapped))
    return _is_public_ipv6(ip)


def _is_public_ipv6(ip: IPv6Address) -> bool:
    if ip not in _GLOBAL_UNICAST or any(ip in block for block in _SPECIAL_IPV6):
        return False
    return (int(ip) >> 32) & 0xFFFFFFFF not in _ISATAP
