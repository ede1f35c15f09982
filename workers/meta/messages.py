"""What goes between a meta-learner and its callers; picklable, and light enough for any process."""

from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    from ray import ObjectRef


@dataclass(frozen=True)
class Exchange:
    """The answer to an exchange.

    `acknowledged`: the step up to which the job's contributions are durable: the next one starts there. `refused`:
    `{"code", "message"}` where the contribution was. `version`, `warp`: the P to move to and its file, where the alias
    that the job follows points to another version than the one it has.
    """

    acknowledged: int
    refused: dict[str, str] | None = None
    version: int | None = None
    warp: bytes | None = None


def actor_name(family_id: int) -> str:
    """The name of a family's meta-learner in Ray."""
    return f"learner-{family_id}"


class _RemoteExchange(Protocol):
    def remote(
        self, contribution: bytes | None, token: int, job_id: str, follow: str | None, have_version: int | None
    ) -> "ObjectRef[Exchange]": ...


class _RemoteFinalize(Protocol):
    def remote(self, job_id: str, token: int) -> "ObjectRef[int | None]": ...


class _RemotePing(Protocol):
    def remote(self) -> "ObjectRef[dict[str, object]]": ...


class _RemoteNotice(Protocol):
    def remote(self) -> "ObjectRef[None]": ...


class LearnerHandle(Protocol):
    """The handle of a meta-learner's actor: Ray's own type says nothing of an actor's methods."""

    exchange: _RemoteExchange
    finalize: _RemoteFinalize
    notice_weights: _RemoteNotice
    ping: _RemotePing
