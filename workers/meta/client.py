"""What a training worker has of its family's meta-learner: a name to look it up by, and no credentials.

The meta-learner may be starting, restarting, or have ended and be made again: whoever calls it sends again until there
is an answer. That is always right: a contribution that arrives twice counts once.
"""

import time
from collections.abc import Callable
from functools import partial
from typing import TYPE_CHECKING, Generic, NoReturn, TypeVar, cast

import ray
from ray.exceptions import RayTaskError

from service.errors import Unavailable
from workers.meta.messages import Exchange, LearnerHandle, actor_name
from workers.ray_connection import Connection, Steady

if TYPE_CHECKING:
    from ray import ObjectRef

T = TypeVar("T")

LOOKUP_S = 0.1
SLICE_S = 0.2
"""Ray is held on to for so long at a time: longer, and a lost head could not be left."""
PATIENCE_S = 120.0


class Lookup:
    """Finds the actor by its name, and again after it, or all of Ray, was lost."""

    def __init__(self, name: str, namespace: str, connection: Connection) -> None:
        self.name, self._namespace, self.connection = name, namespace, connection
        self._actor: tuple[int, LearnerHandle] | None = None

    def find(self) -> LearnerHandle | None:
        """None while there is no such actor: the dispatcher makes it."""
        generation = self.connection.generation
        if self._actor is None or self._actor[0] != generation:
            try:
                actor = ray.get_actor(self.name, namespace=self._namespace)
            except Exception:  # ValueError: there is none; anything else: Ray is going, and is asked again
                return None
            self._actor = (generation, cast(LearnerHandle, actor))
        return self._actor[1]

    def forget(self) -> None:
        self._actor = None


class Pending(Generic[T]):
    """A call under way, which never holds up its caller: training goes on until `done`."""

    def __init__(self, lookup: Lookup, call: "Callable[[LearnerHandle], ObjectRef[T]]") -> None:
        self._lookup, self._call = lookup, call
        self._reference: tuple[int, ObjectRef[T]] | None = None
        self._answer: Callable[[], T] | None = None
        self._advance(0)

    def done(self) -> bool:
        """Whether `result` returns, or raises, at once."""
        self._advance(0)
        return self._answer is not None

    def result(self, timeout_s: float = PATIENCE_S) -> T:
        """The answer, or what the meta-learner raised. Unavailable after `timeout_s` without either."""
        deadline = time.monotonic() + timeout_s
        while self._answer is None:
            left = deadline - time.monotonic()
            if left <= 0:
                raise Unavailable(
                    f"{self._lookup.name} has not answered for {timeout_s:g} s: is the dispatcher running?"
                )
            self._advance(left)
        return self._answer()

    def _advance(self, wait_s: float) -> None:
        """Sends where that is to be done, and looks for the answer."""
        if self._answer is not None:
            return
        with self._lookup.connection.use() as joined:
            under_way = joined and self._look(min(wait_s, SLICE_S))
        if not under_way:
            time.sleep(min(wait_s, LOOKUP_S))

    def _look(self, wait_s: float) -> bool:
        """False where there is nobody to ask; what Ray itself says of a call means: send it again."""
        generation = self._lookup.connection.generation
        try:
            if self._reference is None or self._reference[0] != generation:
                actor = self._lookup.find()
                if actor is None:
                    return False
                self._reference = (generation, self._call(actor))
            reference = self._reference[1]
            if ray.wait([reference], timeout=wait_s)[0]:
                value = ray.get(reference)
                self._answer = lambda: value
        except RayTaskError as error:  # the meta-learner's own word
            self._answer = partial(_raise, error)
        except Exception:
            self._lookup.forget()
            self._reference = None
            return False
        return True


def _raise(error: Exception) -> NoReturn:
    raise error


class LearnerClient:
    """Calls of one worker. `namespace` is the service's in Ray: `settings.ray_namespace`."""

    def __init__(self, family_id: int, namespace: str, connection: Connection | None = None) -> None:
        self._lookup = Lookup(actor_name(family_id), namespace, connection or Steady())

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
