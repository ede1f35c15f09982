"""Launcher for a cluster: each attempt is a job of Ray's Jobs API, with the attempt's submission id.

Ray's word about a job is not the truth: after a head was replaced it calls succeeded jobs failed, and jobs failed whose
program still runs. So what `ended` reports is not certain, and the dispatcher lets those attempts run into the end of
their lease.
"""

import hashlib
import logging
import shlex
import time
from collections.abc import Mapping, Set
from dataclasses import dataclass, field

from ray.job_submission import JobStatus, JobSubmissionClient

from workers.launchers import Adoption, Ended, Launch, LaunchError

log = logging.getLogger(__name__)

COMMAND = ("python", "-m", "workers.runner")
_LOOK_S = 2.0
_TERMINAL = {JobStatus.SUCCEEDED, JobStatus.FAILED, JobStatus.STOPPED}


@dataclass
class RayJobsLauncher:
    """Programs outlive the dispatcher: `close` leaves them alone, and the next dispatcher finds them by their ids."""

    url: str
    """Of the dashboard, which serves the Jobs API."""
    environment: Mapping[str, str]
    """Variables for the runner: the service's settings."""
    grace_s: float
    command: tuple[str, ...] = COMMAND
    name: str = "ray-jobs"
    outlives: bool = True
    _known: set[str] = field(default_factory=set, init=False)
    _looked: float = field(default=0.0, init=False)
    _seen: set[str] = field(default_factory=set, init=False)
    """Jobs of this service that ran when Ray was last asked."""
    _connected: JobSubmissionClient | None = field(default=None, init=False)

    @property
    def _service(self) -> str:
        """Tells this service's jobs from another's on the same Ray: by the database, which is not to be read there."""
        return hashlib.sha256(self.environment.get("WARPADAM_DATABASE_URL", "").encode()).hexdigest()[:16]

    def client(self) -> JobSubmissionClient:
        if self._connected is None:
            try:
                self._connected = JobSubmissionClient(self.url)
            except (OSError, RuntimeError) as error:
                raise LaunchError(f"Ray's Jobs API at {self.url} does not answer: {error}") from error
        return self._connected

    def launch(self, launch: Launch) -> int | None:
        arguments = ["--job", launch.job_id, "--attempt", str(launch.attempt), "--token", str(launch.token)]
        stopping = {"RAY_JOB_STOP_SIGNAL": "SIGTERM", "RAY_JOB_STOP_WAIT_TIME_S": str(round(self.grace_s))}
        client = self.client()
        try:
            client.submit_job(
                entrypoint=shlex.join(["exec", *self.command, *arguments]),
                submission_id=launch.submission_id,
                runtime_env={"env_vars": {**self.environment, **stopping}},
                metadata={"job": launch.job_id, "attempt": str(launch.attempt), "service": self._service},
            )
        except (OSError, RuntimeError) as error:
            if not self._exists(client, launch.submission_id):
                raise LaunchError(f"Ray's Jobs API did not take {launch.submission_id}: {error}") from error
            log.info("%s had been submitted already", launch.submission_id)
        self._known.add(launch.submission_id)
        return None

    def _exists(self, client: JobSubmissionClient, submission_id: str) -> bool:
        try:
            client.get_job_info(submission_id)
        except (OSError, RuntimeError):
            return False
        return True

    def adopt(self, launch: Launch) -> Adoption:
        self._known.add(launch.submission_id)  # what Ray forgot runs into the end of its lease
        return "watched"

    def ended(self) -> list[Ended]:
        if time.monotonic() - self._looked < _LOOK_S:
            return []
        self._looked = time.monotonic()
        try:
            jobs = self.client().list_jobs()
        except (OSError, RuntimeError, LaunchError) as error:
            log.warning("Ray's Jobs API at %s does not answer: %s", self.url, error)
            self._connected = None
            return []
        self._seen = {
            job.submission_id
            for job in jobs
            if job.submission_id
            and job.status not in _TERMINAL
            and (job.metadata or {}).get("service") == self._service
        }
        over = {job.submission_id for job in jobs if job.submission_id in self._known and job.status in _TERMINAL}
        self._known -= over
        return [Ended(submission_id, None, certain=False) for submission_id in sorted(over)]

    def stop(self, submission_id: str, *, grace_s: float) -> None:
        self._known.discard(submission_id)
        try:
            self.client().stop_job(submission_id)
        except (OSError, RuntimeError, LaunchError) as error:
            log.warning("Ray's Jobs API did not stop %s: %s", submission_id, error)

    def sweep(self, living: Set[str]) -> None:
        """What ran when Ray was last looked at is older than `living`: a submission's row is there before its job."""
        for submission_id in sorted(self._seen - living - self._known):
            log.warning("ending Ray's job %s, which runs for nobody", submission_id)
            self.stop(submission_id, grace_s=0.0)
        self._seen = set()

    def tend(self, *, connected: bool, may_start: bool) -> None:
        """Keeps no warm runner: the cluster's nodes are not this machine."""

    def close(self, *, grace_s: float) -> None:
        self._known.clear()
