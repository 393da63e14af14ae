"""Which addresses belong to the public Internet, however they are written or wrapped."""

from __future__ import annotations

from ipaddress import IPv4Address, IPv6Address, IPv6Network

import pytest
from hypothesis import given
from hypothesis import strategies as st

from realmate.egress.addresses import is_public


@pytest.mark.parametrize(
    "address", ["8.8.8.8", "1.1.1.1", "223.255.255.255", "2606:4700:4700::1111", "2a00:1450:4001::1", "::ffff:8.8.8.8"]
)
def test_public_addresses(address: str) -> None:
    assert is_public(address)


@pytest.mark.parametrize(
    "address",
    [
        "127.0.0.1",
        "0.0.0.0",  # noqa: S104 (which is this machine, too)
        "10.1.2.3",
        "172.16.0.1",
        "192.168.1.1",
        "169.254.169.254",
        "100.64.0.1",
        "100.100.100.200",  # the metadata of Alibaba's cloud
        "168.63.129.16",  # the metadata of Azure
        "192.0.0.192",  # the metadata of Oracle's cloud
        "192.0.0.9",
        "198.18.0.1",
        "192.88.99.1",
        "224.0.0.1",
        "240.0.0.1",
        "255.255.255.255",
        "::1",
        "::",
        "fe80::1%eth0",
        "fec0::1",  # site-local, once
        "fd00::1",
        "fd00:ec2::254",  # the metadata of Amazon's cloud
        "ff02::1",
        "ff0e::1",
        "100::1",  # discarded
        "::ffff:127.0.0.1",
        "::ffff:168.63.129.16",
        "::127.0.0.1",  # IPv4-compatible
        "::ffff:0:127.0.0.1",  # SIIT
        "64:ff9b::7f00:1",  # NAT64
        "64:ff9b:1::7f00:1",  # NAT64 of a network's own
        "2002:7f00:1::",  # 6to4
        "2001:0:4136:e378:8000:63bf:3fff:fdd2",  # Teredo
        "2001:db8::1",
        "3fff::1",
        "2606:4700::5efe:7f00:1",  # ISATAP
        "2606:4700::200:5efe:10.0.0.1",
        "4000::1",  # not given out
        "5f00::1",
    ],
)
def test_addresses_that_are_not_for_everybody(address: str) -> None:
    assert not is_public(address)


@given(st.integers(0, 2**32 - 1).map(IPv4Address))
def test_no_wrapping_makes_an_ipv4_address_more_public_than_it_is(inner: IPv4Address) -> None:
    number = int(inner)
    prefixes = ("::", "::ffff:0:0:0", "64:ff9b::", "64:ff9b:1::", "2001:4860::5efe:0:0", "2001:4860::200:5efe:0:0")
    for prefix in prefixes:
        assert not is_public(str(IPv6Address(int(IPv6Address(prefix)) | number)))
    assert not is_public(str(IPv6Address((0x2002 << 112) | (number << 80) | 1)))
    assert is_public(f"::ffff:{inner}") == is_public(str(inner))


@given(st.integers(0, 2**128 - 1).map(IPv6Address))
def test_ipv6_is_public_inside_global_unicast_alone(address: IPv6Address) -> None:
    if address not in IPv6Network("2000::/3") and address.ipv4_mapped is None:
        assert not is_public(str(address))
