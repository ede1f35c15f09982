"""The judge of URLs: what they may look like, and where their names may lead."""

import socket
from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass

import httpx

from service.outbound.addresses import Network, Trust, judge
from service.settings import Settings

MAX_URL = 2048
_PORTS = {"http": 80, "https": 443}

Resolve = Callable[[str, int], Sequence[str]]
"""Name and port to IP addresses. Raises OSError where there are none."""


class Refused(Exception):
    """This address is not for users to name; the text says why, and nothing of what lies behind it."""


def resolve(host: str, port: int) -> list[str]:
    """By the system, which also reads the odd spellings of an address: decimal, octal, hexadecimal."""
    found = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM, proto=socket.IPPROTO_TCP)
    return list(dict.fromkeys(str(each[4][0]) for each in found))


@dataclass(frozen=True)
class Guard:
    networks: tuple[Network, ...] = ()
    """Opened by the operator, at any port."""
    ports: frozenset[int] = frozenset({80, 443, 8080, 8443})
    """Of public addresses."""
    resolve: Resolve = resolve

    @classmethod
    def of(cls, settings: Settings) -> "Guard":
        return cls(settings.outbound_networks, frozenset(settings.outbound_ports))

    def read(self, text: str, schemes: Collection[str]) -> httpx.URL:
        """The URL, looked at without a look at the network. Raises Refused."""
        if len(text) > MAX_URL or not text.isprintable() or not text.isascii() or " " in text:
            raise Refused(f"it must be at most {MAX_URL} printable ASCII characters without spaces")
        try:
            url = httpx.URL(text)
        except (httpx.InvalidURL, ValueError) as error:
            raise Refused("it is no URL") from error
        if url.scheme not in schemes:
            raise Refused(f"it must begin with {' or '.join(f'{each}://' for each in schemes)}")
        if url.userinfo:
            raise Refused("it must hold no user or password")
        if not url.host or not 0 < port_of(url) < 65_536:
            raise Refused("it names no host, or no port that there is")
        return url

    def addresses(self, host: str, port: int) -> list[str]:
        """Where a connection may go; all that the name has, or none. Raises Refused.

        A name that cannot be resolved gets the same answer as one that leads inside: else it would tell which names
        the inside has.
        """
        try:
            found = list(self.resolve(host, port))
        except (OSError, UnicodeError):
            found = []
        trust = {judge(each, self.networks) for each in found}
        if not trust or Trust.REFUSED in trust:
            raise Refused(
                "its host has no public address (private ones are reached where the server's "
                "WARPADAM_OUTBOUND_NETWORKS names them)"
            )
        if Trust.PUBLIC in trust and port not in self.ports:
            raise Refused(f"port {port} is not reached from here: use {', '.join(map(str, sorted(self.ports)))}")
        return found

    def check(self, text: str, schemes: Collection[str]) -> httpx.URL:
        """`read`, and where it leads at present. Raises Refused."""
        url = self.read(text, schemes)
        self.addresses(host_of(url), port_of(url))
        return url


def host_of(url: httpx.URL) -> str:
    """As it is looked up: international names in ASCII."""
    return url.raw_host.decode("ascii")


def port_of(url: httpx.URL) -> int:
    return url.port or _PORTS[url.scheme]
