"""Who asks: the project, what they may do there, and what the audit log says of them."""

from dataclasses import dataclass, field
from typing import Literal, get_args

from service.errors import Forbidden

Scope = Literal[
    "jobs:read",
    "jobs:write",
    "datasets:read",
    "datasets:write",
    "warps:read",
    "warps:write",
    "code:run",
    "admin",
]
SCOPES: tuple[Scope, ...] = get_args(Scope)

DEFAULT_PROJECT = "default"
"""The project of who needs no key."""

LOOPBACK = "loopback"
COMMAND = "command"
"""Actors without a key: a request on a loopback address that needed none, and the server's own command line."""


@dataclass(frozen=True)
class Caller:
    """`actor` is a key's id, LOOPBACK or COMMAND; `address` and `request_id` say from where."""

    project: str
    actor: str
    scopes: frozenset[str] = field(default_factory=frozenset)
    address: str = ""
    request_id: str = ""

    def may(self, scope: Scope) -> bool:
        """`admin` means every scope but `code:run`: who runs code on the cluster must have been told to."""
        return scope in self.scopes or ("admin" in self.scopes and scope != "code:run")

    def require(self, scope: Scope) -> None:
        """Raises Forbidden (`missing_scope`)."""
        if not self.may(scope):
            raise Forbidden(f"This key lacks the scope {scope}: ask an admin of the project for one.", param=scope)
