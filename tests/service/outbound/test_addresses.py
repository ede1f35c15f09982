"""Which addresses are reached: none that only this machine can reach, in whatever spelling."""

from ipaddress import ip_network

import pytest

from service.outbound import Guard, Refused, Trust, judge
from service.outbound.guard import resolve

INSIDE = [
    "127.0.0.1",
    "127.255.255.254",
    "0.0.0.0",
    "0.1.2.3",
    "10.0.0.1",
    "172.16.0.1",
    "172.31.255.255",
    "192.168.1.1",
    "100.64.0.1",
    "169.254.169.254",
    "168.63.129.16",
    "192.0.0.192",
    "192.0.2.1",
    "198.18.0.1",
    "198.51.100.1",
    "192.88.99.1",
    "224.0.0.1",
    "239.255.255.255",
    "240.0.0.1",
    "255.255.255.255",
    "::",
    "::1",
    "::7f00:1",
    "fe80::1",
    "fe80::1%eth0",
    "fec0::1",
    "fc00::1",
    "fd00:ec2::254",
    "ff02::1",
    "::ffff:127.0.0.1",
    "::ffff:7f00:1",
    "::ffff:10.0.0.1",
    "::ffff:169.254.169.254",
    "64:ff9b::127.0.0.1",
    "64:ff9b::a9fe:a9fe",
    "64:ff9b:1::1",
    "2002:7f00:1::",
    "2001::1",
    "2001:db8::1",
    "100::1",
    "no address",
    "",
]
PUBLIC = ["8.8.8.8", "93.184.216.34", "2606:4700::1111", "::ffff:8.8.8.8", "64:ff9b::8.8.8.8", "2a00:1450:4001::1"]
SPELLINGS = ["127.0.0.1", "2130706433", "0x7f000001", "0x7f.1", "0177.0.0.1", "127.1", "[::1]", "[::ffff:127.0.0.1]"]


@pytest.mark.parametrize("address", INSIDE)
def test_what_is_inside_is_refused(address: str) -> None:
    assert judge(address) is Trust.REFUSED


@pytest.mark.parametrize("address", PUBLIC)
def test_what_is_public_is_reached(address: str) -> None:
    assert judge(address) is Trust.PUBLIC


def test_the_operator_opens_networks_but_never_metadata() -> None:
    everything = (ip_network("0.0.0.0/0"), ip_network("::/0"))
    for address in ("10.1.2.3", "127.0.0.1", "::1", "fd12::1", "::ffff:10.1.2.3"):
        assert judge(address, everything) is Trust.LISTED
    for address in ("169.254.169.254", "fe80::1", "224.0.0.1", "0.0.0.0", "fd00:ec2::254", "64:ff9b::a9fe:a9fe"):
        assert judge(address, everything) is Trust.REFUSED


@pytest.mark.parametrize("host", SPELLINGS)
def test_every_spelling_of_this_machine_is_refused(host: str) -> None:
    with pytest.raises(Refused, match=r"no public address|is no URL"):
        Guard().check(f"https://{host}/", ("https",))


def test_the_systems_resolver_reads_spellings() -> None:
    assert resolve("0x7f.1", 80) == ["127.0.0.1"]


@pytest.mark.parametrize(
    ("url", "why"),
    [
        ("http://example.com/", "begin with https://"),
        ("file:///etc/passwd", "begin with"),
        ("gopher://example.com/", "begin with"),
        ("//example.com/", "begin with"),
        ("https://", "names no host|is no URL"),
        ("https://user:pass@example.com/", "no user or password"),
        ("https://user@example.com/", "no user or password"),
        ("https://example.com:22/", "port 22"),
        ("https://example.com:99999/", "no port that there is"),
        ("https://exa mple.com/", "printable"),
        ("https://example.com/\r\nX: y", "printable"),
        ("https://example.com/" + "a" * 2048, "at most 2048"),
        ("https://[::1/", "is no URL"),
    ],
)
def test_urls_that_are_refused(url: str, why: str) -> None:
    with pytest.raises(Refused, match=why):
        Guard(resolve=lambda _host, _port: ["8.8.8.8"]).check(url, ("https",))


def test_one_address_inside_is_enough_and_no_address_says_the_same() -> None:
    def unknown(_host: str, _port: int) -> list[str]:
        raise OSError("no such name")

    answers = []
    for found in (lambda _h, _p: ["8.8.8.8", "10.0.0.1"], lambda _h, _p: [], unknown):
        with pytest.raises(Refused) as caught:
            Guard(resolve=found).check("https://example.com/", ("https",))
        answers.append(str(caught.value))
    assert len(set(answers)) == 1


def test_a_network_of_the_operator_is_reached_at_any_port() -> None:
    guard = Guard(networks=(ip_network("10.0.0.0/8"),), resolve=lambda _host, _port: ["10.1.1.1"])
    assert guard.check("https://hooks.intern:6443/", ("https",)).host == "hooks.intern"
