"""The loop's side of the family's meta-learner: contributions out, newer P in. Only `flush` and `finalize` wait."""

import logging
import math
import threading
import time
from collections.abc import Callable
from concurrent.futures import Future
from dataclasses import dataclass
from typing import Generic, Protocol, TypeVar

from service.agreed import RefusedError
from service.errors import Unavailable
from workers.backoff import backoff
from workers.reporting import Stop

log = logging.getLogger(__name__)

T = TypeVar("T")

_LOOK_S = 0.02
_FIRST_WAIT_S, _LAST_WAIT_S = 0.1, 10.0


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


class Interrupted(Exception):
    """The attempt is to stop, and what it waited for did not come in time."""

    def __init__(self, reason: Stop) -> None:
        super().__init__(reason)
        self.reason = reason


@dataclass(frozen=True)
class Waiting:
    """How long the loop's end may wait for the meta-learner, and what it listens to meanwhile."""

    stop: Callable[[], Stop | None] = lambda: None
    warn: Callable[[str], None] = log.warning
    patience_s: float = 600.0
    """Without an answer for so long the attempt fails; another one goes on from its last checkpoint."""
    farewell_s: float = 5.0
    """What a pause, a resize or the machine's end leaves for a last answer; a cancel leaves nothing."""
    warn_after_s: float = 15.0


class LearnerExchange:
    """One exchange in flight, in a thread of its own: no step waits, even where the meta-learner is not there yet.

    What is not answered, or fails there for whatever reason, is sent again: a contribution counts once, however often
    it arrives. A refusal is final: after it the job contributes no more, and trains on.
    """

    def __init__(
        self,
        client: Client,
        job: str,
        token: int,
        *,
        follow: str | None,
        version: int | None,
        waiting: Waiting | None = None,
    ) -> None:
        self._client, self._job, self._token, self._follow = client, job, token, follow
        self._version = version
        self._waiting = waiting or Waiting()
        self._sent: bytes | None = None
        self._answer: Future[Reply] | None = None
        self._failures, self._again_at = 0, 0.0
        self._new: NewWarp | None = None
        self._refused = False
        self._given_up: Stop | None = None

    def ready(self) -> bool:
        if self._answer is not None and self._answer.done() and time.monotonic() >= self._again_at:
            try:
                self._take(self._answer)
            except Exception as error:  # not there, or its database or storage are not: the answer may come yet
                self._send_later(self._answer, error)
        return self._answer is None

    def send(self, contribution: bytes | None) -> None:
        if self._given_up is not None:
            return
        self._sent = None if self._refused else contribution
        self._failures, self._again_at = 0, 0.0
        self._begin()

    def newest(self) -> NewWarp | None:
        self.ready()
        new, self._new = self._new, None
        return new

    def flush(self) -> None:
        """Raises Unavailable where the meta-learner gave no answer; gives up where the attempt is to stop."""
        if self._given_up is None:
            self._given_up = self._wait(self.ready)

    def finalize(self) -> int | None:
        """Raises Interrupted where the attempt is to stop before that, Unavailable where it took too long."""
        if self._given_up is not None:
            raise Interrupted(self._given_up)
        calls = _Calls(lambda: self._client.finalize(self._job, token=self._token))
        reason = self._wait(calls.answered)
        if reason is not None:
            raise Interrupted(reason)
        return calls.value

    def _wait(self, done: Callable[[], bool]) -> Stop | None:
        """Until `done`, or the reason why that is waited for no longer."""
        began = time.monotonic()
        warned, asked_at = False, math.inf
        while not done():
            now = time.monotonic()
            if (reason := self._waiting.stop()) is not None:
                asked_at = min(asked_at, now)
                patient = reason in ("pause", "preempt", "resize")
                if now - asked_at >= (self._waiting.farewell_s if patient else 0.0):
                    return reason
            if now - began >= self._waiting.patience_s:
                raise Unavailable(f"the meta-learner has not answered for {self._waiting.patience_s:g} s")
            if not warned and now - began >= self._waiting.warn_after_s:
                warned = True
                self._waiting.warn("The family's meta-learner does not answer yet: waiting for it.")
            time.sleep(_LOOK_S)
        return None

    def _send_later(self, answer: "Future[Reply]", error: Exception) -> None:
        if self._again_at == 0.0:
            self._failures += 1
            wait = backoff(self._failures, _FIRST_WAIT_S, _LAST_WAIT_S)
            log.warning("the meta-learner gave no answer, sending again in %.1f s: %s", wait, error)
            self._again_at = time.monotonic() + wait
            return
        self._again_at = 0.0
        self._begin()

    def _begin(self) -> None:
        contribution = self._sent
        self._answer = _in_background(
            lambda: self._client.exchange(
                contribution, token=self._token, job_id=self._job, follow=self._follow, have_version=self._version
            )
        )

    def _take(self, answer: "Future[Reply]") -> None:
        reply = answer.result()
        self._answer = None
        if reply.refused is not None:
            self._refused = True
            log.warning("a contribution was refused (%s): this attempt contributes no more", reply.refused)
        if reply.version is not None and reply.warp is not None:
            self._version = reply.version
            self._new = NewWarp(reply.version, reply.warp)


class _Calls(Generic[T]):
    """One call, made again with a wait between until it returns; a refusal is raised."""

    def __init__(self, call: Callable[[], T]) -> None:
        self._call = call
        self._failures, self._again_at = 0, 0.0
        self._future = _in_background(call)

    def answered(self) -> bool:
        if not self._future.done():
            return False
        error = self._future.exception()
        if error is None:
            return True
        if isinstance(error, RefusedError):
            raise error
        if self._again_at == 0.0:
            self._failures += 1
            log.warning("no version yet, asking again: %s", error)
            self._again_at = time.monotonic() + backoff(self._failures, _FIRST_WAIT_S, _LAST_WAIT_S)
        elif time.monotonic() >= self._again_at:
            self._again_at = 0.0
            self._future = _in_background(self._call)
        return False

    @property
    def value(self) -> T:
        return self._future.result()


def _in_background(call: Callable[[], T]) -> "Future[T]":
    """In a daemon thread: one that waits for a Ray that is gone holds up nobody's end."""
    future: Future[T] = Future()

    def run() -> None:
        try:
            future.set_result(call())
        except Exception as error:  # whatever it is, the loop's thread is the one to judge it
            future.set_exception(error)

    threading.Thread(target=run, daemon=True).start()
    return future
