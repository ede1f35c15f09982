"""What a training worker has of its family's meta-learner: a name to look it up by, and no credentials.

The meta-learner may be starting, restarting, or have ended and be made again: whoever calls it sends again until there
is an answer. That is always right: a contribution that arrives twice counts once.
"""

import time
from collections.abc import Callable
from typing import TYPE_CHECKING, Generic, TypeVar, cast

import ray
from ray.exceptions import ActorDiedError, ActorUnavailableError

from service.errors import Unavailable
from workers.meta.messages import Exchange, LearnerHandle, actor_name

if TYPE_CHECKING:
    from ray import ObjectRef

T = TypeVar("T")

LOOKUP_S = 0.1
PATIENCE_S = 120.0


class Lookup:
    """Finds the actor by its name, and again after it was lost."""

    def __init__(self, name: str, namespace: str) -> None:
        self.name, self._namespace = name, namespace
        self._actor: LearnerHandle | None = None

    def find(self) -> LearnerHandle | None:
        """None while there is no such actor: the dispatcher makes it."""
        if self._actor is None:
            try:
                self._actor = cast(LearnerHandle, ray.get_actor(self.name, namespace=self._namespace))
            except ValueError:
                return None
        return self._actor

    def forget(self) -> None:
        self._actor = None


class Pending(Generic[T]):
    """A call under way, which never holds up its caller: training goes on until `done`."""

    def __init__(self, lookup: Lookup, call: "Callable[[LearnerHandle], ObjectRef[T]]") -> None:
        self._lookup, self._call = lookup, call
        self._reference: ObjectRef[T] | None = None
        self._answered = False
        self._advance(0)

    def done(self) -> bool:
        """Whether `result` returns, or raises, at once."""
        self._advance(0)
        return self._answered

    def result(self, timeout_s: float = PATIENCE_S) -> T:
        """The answer, or what the meta-learner raised. Unavailable after `timeout_s` without either."""
        deadline = time.monotonic() + timeout_s
        while not self._answered:
            left = deadline - time.monotonic()
            if left <= 0:
                raise Unavailable(
                    f"{self._lookup.name} has not answered for {timeout_s:g} s: is the dispatcher running?"
                )
            self._advance(left)
        assert self._reference is not None
        return ray.get(self._reference)

    def _advance(self, wait_s: float) -> None:
        """Sends where that is to be done, and looks for the answer."""
        if self._answered:
            return
        if self._reference is None:
            actor = self._lookup.find()
            if actor is None:
                time.sleep(min(wait_s, LOOKUP_S))
                return
            self._reference = self._call(actor)
        ready, _ = ray.wait([self._reference], timeout=wait_s)
        if not ready:
            return
        try:
            ray.get(self._reference)
        except (ActorDiedError, ActorUnavailableError):
            self._lookup.forget()
            self._reference = None
            time.sleep(min(wait_s, LOOKUP_S))
        except Exception:  # the meta-learner's own word: `result` raises it
            self._answered = True
        else:
            self._answered = True


class LearnerClient:
    """Calls of one worker. `namespace` is the service's in Ray: `settings.ray_namespace`."""

    def __init__(self, family_id: int, namespace: str) -> None:
        self._lookup = Lookup(actor_name(family_id), namespace)

    def exchange_async(
        self,
        contribution: bytes | None,
        *,
        token: int,
        job_id: str,
        follow: str | None = None,
        have_version: int | None = None,
    ) -> Pending[Exchange]:
        """Sends what was observed (`Contribution.encode()`) and asks for the P that `follow` points to."""
        return Pending(
            self._lookup, lambda actor: actor.exchange.remote(contribution, token, job_id, follow, have_version)
        )

    def exchange(
        self,
        contribution: bytes | None,
        *,
        token: int,
        job_id: str,
        follow: str | None = None,
        have_version: int | None = None,
    ) -> Exchange:
        """The same, waiting for the answer; Unavailable where there is none for long."""
        pending = self.exchange_async(
            contribution, token=token, job_id=job_id, follow=follow, have_version=have_version
        )
        return pending.result()

    def finalize(self, job_id: str, *, token: int, timeout_s: float = PATIENCE_S) -> int | None:
        """The number of a version that contains the job's last contribution, once it is published; None: there is none.

        Raises what kept the version from being made, RefusedError for a stale token, Unavailable after `timeout_s`.
        """
        pending: Pending[int | None] = Pending(self._lookup, lambda actor: actor.finalize.remote(job_id, token))
        return pending.result(timeout_s)
