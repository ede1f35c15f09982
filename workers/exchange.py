"""The loop's side of the family's meta-learner: contributions out, newer P in. Only `flush` and `finalize` wait."""

import logging
import threading
from concurrent.futures import Future
from dataclasses import dataclass
from typing import Protocol

from service.errors import Unavailable

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


class Reply(Protocol):
    """What the meta-learner answers (`workers.meta.messages.Exchange`)."""

    @property
    def refused(self) -> dict[str, str] | None: ...

    @property
    def version(self) -> int | None: ...

    @property
    def warp(self) -> bytes | None: ...


class Client(Protocol):
    """What is asked of `workers.meta.client.LearnerClient`; both wait, and raise Unavailable."""

    def exchange(
        self, contribution: bytes | None, *, token: int, job_id: str, follow: str | None, have_version: int | None
    ) -> Reply: ...

    def finalize(self, job_id: str, *, token: int) -> int | None: ...


class LearnerExchange:
    """One exchange in flight, in a thread of its own: no step waits, even where the meta-learner is not there yet.

    What is not answered is sent again; a refusal is final: after it the job contributes no more, and trains on.
    """

    def __init__(self, client: Client, job: str, token: int, *, follow: str | None, version: int | None) -> None:
        self._client, self._job, self._token, self._follow = client, job, token, follow
        self._version = version
        self._sent: bytes | None = None
        self._answer: Future[Reply] | None = None
        self._new: NewWarp | None = None
        self._refused = False

    def ready(self) -> bool:
        if self._answer is not None and self._answer.done():
            try:
                self._take(self._answer)
            except Unavailable as error:
                log.warning("the meta-learner did not answer, sending again: %s", error)
                self._begin()
        return self._answer is None

    def send(self, contribution: bytes | None) -> None:
        self._sent = None if self._refused else contribution
        self._begin()

    def newest(self) -> NewWarp | None:
        self.ready()
        new, self._new = self._new, None
        return new

    def flush(self) -> None:
        """Raises Unavailable where the meta-learner gave no answer."""
        if self._answer is not None:
            self._take(self._answer)

    def finalize(self) -> int | None:
        return self._client.finalize(self._job, token=self._token)

    def _begin(self) -> None:
        self._answer = Future()
        thread = threading.Thread(target=self._exchange, args=(self._answer, self._sent), daemon=True)
        thread.start()

    def _exchange(self, answer: "Future[Reply]", contribution: bytes | None) -> None:
        try:
            answer.set_result(
                self._client.exchange(
                    contribution,
                    token=self._token,
                    job_id=self._job,
                    follow=self._follow,
                    have_version=self._version,
                )
            )
        except Exception as error:  # whatever it is, the loop's thread is the one to judge it
            answer.set_exception(error)

    def _take(self, answer: "Future[Reply]") -> None:
        reply = answer.result()
        self._answer = None
        if reply.refused is not None:
            self._refused = True
            log.warning("a contribution was refused (%s): this attempt contributes no more", reply.refused)
        if reply.version is not None and reply.warp is not None:
            self._version = reply.version
            self._new = NewWarp(reply.version, reply.warp)
