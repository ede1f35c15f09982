"""The loop's side of the family's meta-learner: contributions out, newer P in. Only `flush` and `finalize` wait."""

import logging
from dataclasses import dataclass
from typing import Protocol

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class NewWarp:
    version: int
    data: bytes


class Exchange(Protocol):
    """Called by the leader only."""

    def ready(self) -> bool:
        """Whether nothing is in flight; takes in what has arrived."""
        ...

    def send(self, contribution: bytes | None) -> None:
        """Begins an exchange in the background; only when `ready`."""
        ...

    def newest(self) -> NewWarp | None:
        """The newest P that has arrived and was not yet taken; the next call gives None."""
        ...

    def flush(self) -> None:
        """Waits until nothing is in flight: what was sent is acknowledged or refused."""
        ...

    def finalize(self) -> int | None:
        """Waits for a published version that contains all of this job's contributions, and returns its number."""
        ...


class NullExchange:
    """A job that neither contributes nor follows."""

    def ready(self) -> bool:
        return False

    def send(self, contribution: bytes | None) -> None:
        raise AssertionError("never ready, so never asked to send")

    def newest(self) -> NewWarp | None:
        return None

    def flush(self) -> None:
        return

    def finalize(self) -> int | None:
        return None
