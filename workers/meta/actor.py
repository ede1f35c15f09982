"""The meta-learner as a named, detached Ray actor: a thin shell around `Learner`, which Ray restarts where it dies.

A restart begins under a new epoch and fills its memory from the database; calls that were under way are sent again by
Ray, and count once. One that finds a newer epoch than its own ends for good. Exchanges have threads of their own, so
that they wait for no solve, however many jobs wait in `finalize`.
"""

import logging
import os
import time
from collections.abc import Callable
from typing import TypeVar, cast

import ray
from ray.actor import exit_actor
from sqlalchemy.exc import DBAPIError

from service.db.outages import passes, patiently
from service.db.session import Database
from service.errors import Unavailable
from service.learning import StaleEpochError
from service.settings import Settings
from service.storage import Storage
from workers.meta.learner import Learner
from workers.meta.messages import Exchange, LearnerHandle, actor_name

T = TypeVar("T")

logger = logging.getLogger(__name__)

EXCHANGES = 4
FINALIZES = 64
HEAD = "node:__internal_head__"
"""What Ray's head alone has, once: on a cluster only the head holds the service's secrets, and no training worker."""
DATABASE_WAIT_S = 5.0
DATABASE_PATIENCE_S = 60.0
"""Less than callers wait for an answer (`workers.meta.client.PATIENCE_S`)."""


class FamilyLearner:
    """See `Learner`: the same methods, with the same promises."""

    def __init__(self, settings: Settings, family_id: int) -> None:
        settings = settings.with_secrets()
        self._learner = _when_database_is_there(
            lambda: Learner(
                Database(settings.database, settings.database_limits), Storage(settings.storage), settings, family_id
            )
        )

    @ray.method(concurrency_group="exchange")
    def exchange(
        self, contribution: bytes | None, token: int, job_id: str, follow: str | None, have_version: int | None
    ) -> Exchange:
        return _answer(lambda: self._learner.exchange(contribution, token, job_id, follow, have_version))

    @ray.method(concurrency_group="finalize")
    def finalize(self, job_id: str, token: int) -> int | None:
        return _answer(lambda: self._learner.finalize(job_id, token))

    def notice_weights(self) -> None:
        _answer(self._learner.notice_weights)

    def ping(self) -> dict[str, object]:
        return _answer(lambda: {**self._learner.ping(), "pid": os.getpid()})


def ensure_learner(settings: Settings, family_id: int) -> LearnerHandle:
    """The family's meta-learner, made where there is none. Ray must be initialised; nobody else makes one."""
    groups = {"exchange": EXCHANGES, "finalize": FINALIZES}
    remote = ray.remote(concurrency_groups=groups)  # type: ignore[call-overload]  # its types do not know the option
    actor = remote(FamilyLearner).options(
        name=actor_name(family_id),
        namespace=settings.ray_namespace,
        get_if_exists=True,
        lifetime="detached",
        num_cpus=0,
        resources={HEAD: 0.001},
        max_restarts=-1,
        max_task_retries=-1,
    )
    return cast(LearnerHandle, actor.remote(settings.without_secrets(), family_id))


def notice_weights(settings: Settings, family_id: int) -> None:
    """Tells the family's meta-learner that final weights wait for it. Nothing is waited for."""
    ensure_learner(settings, family_id).notice_weights.remote()


def end_learner(settings: Settings, family_id: int) -> None:
    """Ends the family's meta-learner, if there is one; it comes back from the database when it is made again."""
    try:
        actor = ray.get_actor(actor_name(family_id), namespace=settings.ray_namespace)
    except ValueError:
        return
    ray.kill(actor, no_restart=True)


def ask_learner(settings: Settings, family_id: int) -> Callable[[], bool]:
    """Sends it a question; whether the answer, any answer, has come. ValueError where there is none."""
    actor = cast(LearnerHandle, ray.get_actor(actor_name(family_id), namespace=settings.ray_namespace))
    reference = actor.ping.remote()
    return lambda: bool(ray.wait([reference], timeout=0)[0])


def restart_learner(settings: Settings, family_id: int) -> None:
    """Kills the process of one that hangs: Ray starts another. ValueError where there is none."""
    ray.kill(ray.get_actor(actor_name(family_id), namespace=settings.ray_namespace), no_restart=False)


def _answer(call: Callable[[], T]) -> T:
    """A database that is away is waited for: whatever a call does counts once. Unavailable: send it again."""
    try:
        return patiently(call, DATABASE_PATIENCE_S)
    except DBAPIError as error:
        if not passes(error):
            raise
        raise Unavailable(f"the database of the meta-learner does not answer: {error.orig}") from None
    except StaleEpochError as error:
        logger.warning("this meta-learner ends: %s", error)
        exit_actor()  # type: ignore[no-untyped-call]
        raise


def _when_database_is_there(build: Callable[[], T]) -> T:
    """An actor whose constructor fails is dead for good, so a database that is away is waited for."""
    while True:
        try:
            return build()
        except DBAPIError as error:
            if not passes(error):
                raise
            logger.warning("the database is not there, trying again: %s", error.orig)
            time.sleep(DATABASE_WAIT_S)
