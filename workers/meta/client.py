"""What a training worker has of its family's meta-learner: a name to look it up by, and no credentials.

The meta-learner may be starting, restarting, or have ended and be made again: whoever calls it waits for that and sends
again. Sending again is always right: a contribution that arrives twice counts once.
"""

import time
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import cast

import ray
from ray.exceptions import ActorDiedError, ActorUnavailableError, GetTimeoutError

from service.errors import Unavailable
from workers.meta.messages import Exchange, LearnerHandle, actor_name

LOOKUP_S = 0.1
PATIENCE_S = 120.0


@dataclass
class PendingExchange:
    """An exchange under way. One is in flight at a time; training goes on meanwhile."""

    send: Callable[[], "ray.ObjectRef[Exchange]"]
    lost: Callable[[], None]
    reference: "ray.ObjectRef[Exchange]" = field(init=False)

    def __post_init__(self) -> None:
        self.reference = self.send()

    def done(self) -> bool:
        """Whether `result` returns, or raises, without waiting for the meta-learner's answer."""
        ready, _ = ray.wait([self.reference], timeout=0)
        return bool(ready)

    def result(self, timeout_s: float = PATIENCE_S) -> Exchange:
        """The answer; sent again where the meta-learner was lost. Unavailable after `timeout_s` without one."""
        deadline = time.monotonic() + timeout_s
        while True:
            try:
                return ray.get(self.reference, timeout=max(0.0, deadline - time.monotonic()))
            except GetTimeoutError as error:
                raise Unavailable(f"the meta-learner has not answered for {timeout_s:g} s") from error
            except (ActorDiedError, ActorUnavailableError) as error:
                if time.monotonic() >= deadline:
                    raise Unavailable("the meta-learner died and did not come back") from error
                self.lost()
                time.sleep(LOOKUP_S)
                self.reference = self.send()


class LearnerClient:
    """Calls of one worker. `namespace` is the service's in Ray: `settings.ray_namespace`."""

    def __init__(self, family_id: int, namespace: str, *, patience_s: float = PATIENCE_S) -> None:
        self._name, self._namespace, self._patience_s = actor_name(family_id), namespace, patience_s
        self._actor: LearnerHandle | None = None

    def exchange_async(
        self,
        contribution: bytes | None,
        *,
        token: int,
        job_id: str,
        follow: str | None = None,
        have_version: int | None = None,
    ) -> PendingExchange:
        """Sends what was observed (`Contribution.encode()`) and asks for the P that `follow` points to."""
        return PendingExchange(
            lambda: self._handle().exchange.remote(contribution, token, job_id, follow, have_version), self._forget
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
        """The same, waiting for the answer."""
        pending = self.exchange_async(
            contribution, token=token, job_id=job_id, follow=follow, have_version=have_version
        )
        return pending.result(self._patience_s)

    def finalize(self, job_id: str, *, token: int, timeout_s: float | None = None) -> int | None:
        """The number of a version that contains the job's last contribution, once it is published; None: there is none.

        Unavailable after `timeout_s`. Raises what kept the version from being made; RefusedError for a stale token.
        """
        deadline = time.monotonic() + (timeout_s or self._patience_s)
        while True:
            try:
                reference = self._handle().finalize.remote(job_id, token)
                return ray.get(reference, timeout=max(0.0, deadline - time.monotonic()))
            except GetTimeoutError as error:
                raise Unavailable("the meta-learner has published no version yet; try again") from error
            except (ActorDiedError, ActorUnavailableError) as error:
                if time.monotonic() >= deadline:
                    raise Unavailable("the meta-learner died and did not come back") from error
                self._forget()
                time.sleep(LOOKUP_S)

    def _handle(self) -> LearnerHandle:
        """The actor; the dispatcher makes it, so one that is not there yet is waited for."""
        deadline = time.monotonic() + self._patience_s
        while self._actor is None:
            try:
                self._actor = cast(LearnerHandle, ray.get_actor(self._name, namespace=self._namespace))
            except ValueError as error:
                if time.monotonic() >= deadline:
                    raise Unavailable(f"there is no meta-learner {self._name} in {self._namespace}") from error
                time.sleep(LOOKUP_S)
        return self._actor

    def _forget(self) -> None:
        self._actor = None
