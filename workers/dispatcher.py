"""The dispatcher: claim → launch → watch → reconcile. Policies decide, this executes.

Invariants:
- The database is the truth. What is held here (which programs run) can be lost: a new dispatcher reads it again, adopts
  attempts whose program lives, and lets the lease decide about the rest.
- Admission happens at the claim, in its transaction, against what living attempts reserve (workers/line.py); a job that
  does not fit now stays where it is and blocks none behind it.
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
from datetime import datetime

from sqlalchemy.exc import DBAPIError
from sqlalchemy.orm import Session

from service import attempts, clock, cluster, logs, queue, quotas
from service.attempts import Claim, Failure, Fence, Living
from service.db import family_queries, job_queries, start_queries
from service.db.locks import Lock, take_turns
from service.db.session import Database
from service.limits import Limits
from service.settings import Settings
from service.spec import read_stored
from service.states import JobState
from workers.backoff import backoff
from workers.cluster import Pool, View
from workers.launchers import Ended, Launch, Launcher, LaunchError
from workers.leases import Attention, LeaseWatch, Obedience
from workers.line import Line, need_of
from workers.policies import LEASE_EXPIRED, NOT_STOPPED, Need, failure_of_exit, may_warm

log = logging.getLogger(__name__)

SURVEY_S = 1.0
"""Between two snapshots of the cluster, and what goes with them."""
OBEDIENCE_MARGIN_S = 5.0
"""The runner ends a loop that does not hear by itself after the grace; one that does not even do that is ended here."""


@dataclass
class _Queue:
    """What was known when the queue was last tried in vain; None: it has to be tried."""

    seen: int | None = None
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
    _ended: list[Ended] = field(default_factory=list, init=False)
    """Programs whose end is not in the database yet."""
    _queue: _Queue = field(default_factory=_Queue, init=False)
    _line: Line = field(init=False)
    _surveyed: float = field(default=0.0, init=False)
    _launched: float = field(default=0.0, init=False)
    _may_warm: bool = field(default=True, init=False)
    _attention: Attention = field(default_factory=Attention, init=False)
    _waiting: frozenset[int] = field(default=frozenset(), init=False)
    """Families whose jobs' final weights wait."""
    _leases: LeaseWatch = field(init=False)
    _obedience: Obedience = field(init=False)

    def __post_init__(self) -> None:
        self._leases = LeaseWatch(self.settings.lease_s, self.settings.start_s, self._attention)
        self._obedience = Obedience(self.settings.grace_s + OBEDIENCE_MARGIN_S, self._attention)
        self._line = Line(self.settings)

    @property
    def running(self) -> list[Fence]:
        """Attempts whose program is watched."""
        return list(self._running.values())

    def run(self, stop: threading.Event, listen: Callable[[], None] = lambda: None) -> None:
        """Looks every `poll_s` until `stop`, then ends what has to end with it. Trouble is waited out, whatever it is:
        attempts go on meanwhile.

        `listen` is called at each look: joining Ray takes SIGTERM away, in whatever thread, and only the main thread
        can take it back.
        """
        failures = 0
        while not stop.is_set():
            listen()
            try:
                self.step()
                failures = 0
            except DBAPIError as error:
                failures += 1
                self._leases.forget()  # nobody could renew one
                log.warning("the database does not work (try %d): %s", failures, error.orig)
            except Exception:
                failures += 1
                log.exception("this look was not finished (try %d)", failures)
            stop.wait(self.settings.poll_s if not failures else backoff(failures, 0.5, 10.0))
        self.close()

    def adopt(self) -> None:
        """Takes over the attempts that nobody here watches: those whose program is gone are lost, the others go on.

        On start these are an earlier dispatcher's; later, those that another one left, or could not register.
        """
        with self.database.read() as session:
            found = [live for live in attempts.live(session) if live.launcher == self.launcher.name]
        for live in found:
            if live.submission_id in self._running:
                continue
            became = self.launcher.adopt(_launch(live.fence))
            if became == "watched":
                self._running[live.submission_id] = live.fence
                log.info("found attempt %s running", live.submission_id)
            elif became == "gone":
                self._release(live.fence, failure_of_exit(None, stopping=False))
        self.launcher.sweep({live.submission_id for live in found})

    def step(self) -> None:
        """One look at everything; the first begins with what an earlier dispatcher left."""
        if not self._surveyed:
            self.adopt()
        self._collect()
        self._reconcile()
        while (claim := self._claim()) is not None:
            self._start(claim)
        if time.monotonic() - self._surveyed >= SURVEY_S:
            self._survey()
        self.launcher.tend(connected=self.pool.view().connected, may_start=self._may_warm)

    def _collect(self) -> None:
        """Programs that have ended: what they did not say themselves is said here, and again where that failed."""
        self._ended += self.launcher.ended()
        while self._ended:
            ended = self._ended[0]
            fence = self._running.get(ended.submission_id)
            if fence is not None and ended.certain:
                self._release(fence, failure_of_exit(ended.code, stopping=False))
            self._running.pop(ended.submission_id, None)
            self._queue.seen = None
            del self._ended[0]

    def _reconcile(self) -> None:
        """Intents of jobs that no attempt could obey, or that theirs does not; attempts without a sign of life."""
        now = clock.now()
        with self.database.read() as session:
            idle = job_queries.idle_with_intent(session)
            living = attempts.living(session)
        self._attention.look()
        if idle:
            self.database.write(lambda session: attempts.obey_intents(session, now))
        for lost in self._leases.lost(living, now):
            self._expire(lost)
        for deaf in self._obedience.overdue(living):
            log.warning("attempt %s does not stop: it is ended", _launch(deaf.fence).submission_id)
            self._end(deaf.fence)
            self._release(deaf.fence, NOT_STOPPED)

    def _expire(self, lost: Living) -> None:
        """Released first, under the condition that no heartbeat came in between, and only then killed."""
        state = self._release(lost.fence, LEASE_EXPIRED, unless_renewed=lost.lease_until)
        if not state.has_attempt:
            log.warning("attempt %s has lost its lease", _launch(lost.fence).submission_id)
            self._end(lost.fence)

    def _end(self, fence: Fence) -> None:
        submission_id = _launch(fence).submission_id
        self._running.pop(submission_id, None)
        self.launcher.stop(submission_id, grace_s=0.0)

    def _claim(self) -> Claim | None:
        view = self.pool.view()
        if not view.connected:
            return None
        with self.database.read() as session:
            change = queue.newest_change(session)
        tried = self._queue.seen == change and self._queue.view == view
        if change is None or (tried and time.monotonic() - self._queue.at < SURVEY_S):
            return None
        claim = self.database.write(lambda session: self._admit(session, view))
        if claim is None:
            self._queue = _Queue(change, view, time.monotonic())
        return claim

    def _admit(self, session: Session, view: View) -> Claim | None:
        """In one transaction, one dispatcher after the other: what is reserved, and the claim of who fits beside it."""
        take_turns(session, Lock.ADMISSION)
        may_start = quotas.admission(session, Limits.of(self.settings), clock.now())
        return self._line.claim(session, view, self.launcher.name, may_start, why_not=may_start.why_not)

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
        """What is looked at less often: programs without a watch, the snapshot, meta-learners, hopeless jobs."""
        self._surveyed = time.monotonic()
        self.adopt()
        view = self.pool.view()
        self._want_learners()
        with self.database.read() as session:
            holders = queue.holders(session)
        self._may_warm = may_warm((each.progress_step for each in holders), time.monotonic() - self._launched)
        snapshot = snapshot_of(view, [need_of(each) for each in holders])
        data = snapshot.model_dump(mode="json") | {"waiting": self._line.told()}

        def write(session: Session) -> None:
            cluster.write_snapshot(session, self.name, data, clock.now())
            if view.connected:
                self._line.look(session, view, snapshot)

        self.database.write(write)
        if view.connected and any(each.granted is not None for each in holders):
            self.database.write(lambda session: self._resize(session, view))

    def _resize(self, session: Session, view: View) -> None:
        """What elastic jobs may have, in turn with admission: nothing that is given here is given there too."""
        take_turns(session, Lock.ADMISSION)
        may_start = quotas.admission(session, Limits.of(self.settings), clock.now())
        for job_id, workers in self._line.resize(session, view, may_start).items():
            log.info("%s may have %d workers", job_id, workers)

    def _want_learners(self) -> None:
        """Of families with jobs that contribute or weights to decide about; of guarded ones while any job runs."""
        with self.database.read() as session:
            holders, guarded = queue.holders(session), family_queries.guarded(session)
            waiting = start_queries.families_waiting(session)
        wanted = (each.family_id for each in holders if each.family_id in guarded or read_stored(each.spec).contributes)
        self.pool.want_learners(frozenset((*wanted, *waiting)))
        if self._waiting != frozenset(waiting):
            self._waiting = frozenset(waiting)
            self.pool.notice_weights(self._waiting)

    def _release(self, fence: Fence, failure: Failure, *, unless_renewed: datetime | None = None) -> JobState:
        """The end of an attempt that said nothing; where it has spoken meanwhile, its own word stands."""
        now, folder, most = clock.now(), self.settings.data_dir / "logs", self.settings.max_log_bytes

        def work(session: Session) -> JobState:
            logs.keep_rest(session, folder, fence.job_id, fence.attempt, most=most)
            return attempts.release_lost(session, fence, now=now, failure=failure, unless_renewed=unless_renewed)

        state = self.database.write(work)
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
