"""The dispatcher: claim → launch → watch → reconcile. Policies decide, this executes.

Invariants:
- The database is the truth. What is held here (which programs run) can be lost: a new dispatcher reads it again, adopts
  attempts whose program lives, and lets the lease decide about the rest.
- Admission happens at the claim, in its transaction, against what living attempts reserve; a job that does not fit now
  stays where it is and blocks none behind it.
- An attempt is declared lost only through `attempts.release_lost`, whose fence makes a late writer harmless.
- Nothing here calls Ray: the pool (workers/cluster.py) does, in a thread of its own.
"""

import logging
import socket
import threading
import time
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import asdict, dataclass, field

from sqlalchemy.exc import DBAPIError
from sqlalchemy.orm import Session

from service import attempts, clock, cluster, quotas
from service.attempts import Claim, Failure, Fence
from service.db import dispatch_queries, family_queries, job_queries, start_queries
from service.db.session import Database
from service.limits import Limits
from service.settings import Settings
from service.spec import JobSpec, read_stored
from service.states import JobState
from workers.cluster import Pool, View
from workers.launchers import Launch, Launcher, LaunchError
from workers.policies import LEASE_EXPIRED, Need, backoff, failure_of_exit, fits_now, may_warm

log = logging.getLogger(__name__)

SURVEY_S = 1.0
"""Between two snapshots of the cluster, and what goes with them."""


@dataclass
class _Queue:
    """What was known when the queue was last tried in vain; None: it has to be tried."""

    seen: tuple[int, str | None] | None = None
    view: View | None = None
    at: float = 0.0


@dataclass
class Dispatcher:
    settings: Settings
    database: Database
    launcher: Launcher
    pool: Pool
    name: str = field(default_factory=lambda: socket.gethostname()[:64])
    _running: dict[str, Fence] = field(default_factory=dict, init=False)
    """By submission id: attempts whose program this launcher watches."""
    _queue: _Queue = field(default_factory=_Queue, init=False)
    _surveyed: float = field(default=0.0, init=False)
    _launched: float = field(default=0.0, init=False)
    _may_warm: bool = field(default=True, init=False)

    @property
    def running(self) -> list[Fence]:
        """Attempts whose program is watched."""
        return list(self._running.values())

    def run(self, stop: threading.Event, listen: Callable[[], None] = lambda: None) -> None:
        """Looks every `poll_s` until `stop`, then ends what has to end with it. Database trouble is waited out.

        `listen` is called at each look: joining Ray takes SIGTERM away, in whatever thread, and only the main thread
        can take it back.
        """
        failures = 0
        self._adopt_when_possible(stop)
        while not stop.is_set():
            listen()
            try:
                self.step()
                failures = 0
            except DBAPIError as error:
                failures += 1
                log.warning("the database does not work (try %d): %s", failures, error.orig)
            stop.wait(self.settings.poll_s if not failures else backoff(failures, 0.5, 10.0))
        self.close()

    def _adopt_when_possible(self, stop: threading.Event) -> None:
        failures = 0
        while not stop.is_set():
            try:
                return self.adopt()
            except DBAPIError as error:
                failures += 1
                log.warning("the database does not work (try %d): %s", failures, error.orig)
                stop.wait(backoff(failures, 0.5, 10.0))
        return None

    def adopt(self) -> None:
        """Takes over the attempts of an earlier dispatcher: those whose program is gone are lost, the others go on."""
        with self.database.read() as session:
            found = [live for live in attempts.live(session) if live.launcher == self.launcher.name]
        for live in found:
            if self.launcher.adopt(_launch(live.fence), live.pid):
                self._running[live.submission_id] = live.fence
                log.info("found attempt %s running", live.submission_id)
            else:
                self._release(live.fence, failure_of_exit(None, stopping=False))

    def step(self) -> None:
        """One look at everything."""
        self._collect()
        self._reconcile()
        while (claim := self._claim()) is not None:
            self._start(claim)
        if time.monotonic() - self._surveyed >= SURVEY_S:
            self._survey()
        self.launcher.tend(connected=self.pool.view().connected, may_start=self._may_warm)

    def _collect(self) -> None:
        """Programs that have ended: what they did not say themselves is said here."""
        for ended in self.launcher.ended():
            fence = self._running.pop(ended.submission_id, None)
            self._queue.seen = None
            if fence is not None and ended.certain:
                self._release(fence, failure_of_exit(ended.code, stopping=False))

    def _reconcile(self) -> None:
        """Intents of jobs that no attempt could obey; attempts whose lease has run out."""
        now = clock.now()
        with self.database.read() as session:
            idle = job_queries.idle_with_intent(session)
            expired = job_queries.expired(session, now)
        if idle:
            self.database.write(lambda session: attempts.obey_intents(session, now))
        for job in expired:
            self._expire(Fence(job.id, job.attempt, job.token))

    def _expire(self, fence: Fence) -> None:
        """Released first, under the condition that no heartbeat came in between, and only then killed."""
        state = self._release(fence, LEASE_EXPIRED, if_expired=True)
        if not state.has_attempt:
            log.warning("attempt %s has lost its lease", _launch(fence).submission_id)
            self._running.pop(_launch(fence).submission_id, None)
            self.launcher.stop(_launch(fence).submission_id, grace_s=0.0)

    def _claim(self) -> Claim | None:
        view = self.pool.view()
        if not view.connected:
            return None
        now = clock.now()
        with self.database.read() as session:
            waiting = dispatch_queries.waiting(session, now)
        tried = self._queue.seen == waiting and self._queue.view == view
        if waiting[0] == 0 or (tried and time.monotonic() - self._queue.at < SURVEY_S):
            return None
        claim = self.database.write(lambda session: self._admit(session, view))
        if claim is None:
            self._queue = _Queue(waiting, view, time.monotonic())
        return claim

    def _admit(self, session: Session, view: View) -> Claim | None:
        """In one transaction: what is reserved, and the claim of the first job that fits beside it."""
        reserved = [Need.of(read_stored(job.spec).resources) for job in job_queries.with_attempt(session)]
        now = clock.now()
        return attempts.claim_next(
            session,
            now=now,
            lease_s=self.settings.lease_s,
            launcher=self.launcher.name,
            fits=lambda spec: fits_now(Need.of(spec.resources), view.nodes, reserved),
            may_start=quotas.admission(session, Limits.of(self.settings), now),
        )

    def _start(self, claim: Claim) -> None:
        launch = _launch(claim.fence)
        try:
            pid = self.launcher.launch(launch)
        except LaunchError as error:
            log.warning("%s could not be launched: %s", launch.submission_id, error)
            self._release(claim.fence, Failure("infrastructure", "launch_failed", str(error), True))
            return
        self._running[launch.submission_id] = claim.fence
        self._launched, self._may_warm = time.monotonic(), False
        log.info("launched %s", launch.submission_id)
        if pid is not None:
            with suppress(attempts.LostLease):  # it has already ended, by its own word
                self.database.write(lambda session: attempts.set_pid(session, claim.fence, pid))
        self._want_learners()

    def _survey(self) -> None:
        """What is looked at less often: the snapshot, meta-learners, jobs that can never start."""
        self._surveyed = time.monotonic()
        view = self.pool.view()
        self._want_learners()
        with self.database.read() as session:
            jobs = job_queries.with_attempt(session)
        self._may_warm = may_warm((job.progress_step for job in jobs), time.monotonic() - self._launched)
        reserved = [Need.of(read_stored(job.spec).resources) for job in jobs]
        snapshot = snapshot_of(view, reserved)

        def fits_ever(spec: JobSpec) -> bool:
            return snapshot.shortage(spec.resources) is None

        self.database.write(
            lambda session: cluster.write_snapshot(session, self.name, snapshot.model_dump(mode="json"), clock.now())
        )
        if view.connected:
            with self.database.read() as session:
                waits = bool(job_queries.queued(session))
            if waits:
                self.database.write(lambda session: attempts.fail_unschedulable(session, clock.now(), fits_ever))

    def _want_learners(self) -> None:
        """Of families with jobs that contribute, and of guarded ones: there evaluations are looked at as they end."""
        with self.database.read() as session:
            jobs, guarded = job_queries.with_attempt(session), family_queries.guarded(session)
            waiting = start_queries.families_waiting(session)
        wanted = (job.family_id for job in jobs if job.family_id in guarded or read_stored(job.spec).contributes)
        self.pool.want_learners(frozenset((*wanted, *waiting)))

    def _release(self, fence: Fence, failure: Failure, *, if_expired: bool = False) -> JobState:
        """The end of an attempt that said nothing; where it has spoken meanwhile, its own word stands."""
        now = clock.now()
        state = self.database.write(
            lambda session: attempts.release_lost(session, fence, now=now, failure=failure, if_expired=if_expired)
        )
        self._queue.seen = None
        return state

    def close(self) -> None:
        """Ends the launcher's programs that do not outlive it, and says so of those that said nothing."""
        self.launcher.close(grace_s=self.settings.grace_s)
        if self.launcher.outlives:
            return
        for fence in self._running.values():
            self._release(fence, failure_of_exit(None, stopping=True))
        self._running.clear()


def snapshot_of(view: View, reserved: Sequence[Need]) -> cluster.ClusterState:
    """What users are shown of the cluster; free is what admission has to give."""
    cpus = sum(node.cpus for node in view.nodes)
    gpus = sum(node.gpus for node in view.nodes)
    return cluster.ClusterState.model_validate(
        {
            "nodes": [{**asdict(node), "alive": view.connected} for node in view.nodes],
            "cpus": cpus,
            "gpus": gpus,
            "free_cpus": max(0.0, cpus - sum(need.total_cpus for need in reserved)),
            "free_gpus": max(0.0, gpus - sum(need.total_gpus for need in reserved)),
            "ray": {"connected": view.connected, "error": view.error},
        }
    )


def _launch(fence: Fence) -> Launch:
    return Launch(fence.job_id, fence.attempt, fence.token)
