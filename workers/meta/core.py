"""The meta-learner's pure core: what a family's jobs saw, what a contribution must be, and the P that follows from it.

The statistics are immutable: whoever solves them holds a snapshot for nothing, and nobody waits for him. The core does
no locking and knows no clock, SQL or Ray; its caller writes the ledger first and applies a contribution afterwards.
"""

import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from functools import lru_cache

from service.agreed import RefusedError
from service.db.models import Json
from service.learning import JobFacts
from warpadam import shapes, tensorfile, warpfile
from warpadam.learn.checks import check_contribution
from warpadam.learn.covariance import Solution
from warpadam.learn.packed import ContributionError, axis_of
from warpadam.learn.rule import RULES
from warpadam.learn.statistics import Contribution, JobSum, Statistics
from workers.code.axes import believable

DEFAULT_RULE = "covariance"
HEADER_ROOM = 2**20
"""A contribution's file may be larger than its statistics by this: names of keys take room."""


@dataclass(frozen=True)
class Snapshot:
    """The statistics as they were at `generation`, which counts the contributions that were applied.

    `rule`: by which they were observed, and are solved.
    """

    statistics: Statistics
    generation: int
    rule: str = DEFAULT_RULE


@dataclass(frozen=True)
class Solved:
    """A P without a number yet."""

    rule: str
    solution: Solution
    digest: str
    jobs: list[Json]
    """`[{"job", "steps", "contributions"}]` in order of the ids."""
    steps: int

    @property
    def keys(self) -> list[Json]:
        return [{"key": key, "size": len(matrix)} for key, matrix in sorted(self.solution.matrices.items())]

    def warp(self, family: str, version: int, parent: int | None) -> bytes:
        """The file of this P as that version."""
        return warpfile.encode(
            self.solution.matrices,
            warpfile.WarpMetadata(
                family=family, version=version, rule=self.rule, parent=parent, statistics_digest=self.digest
            ),
        )

    def eigenvalues(self) -> bytes:
        """Their file: a float64 vector by key, largest first."""
        return tensorfile.write(self.solution.eigenvalues, {"format": "warpadam.eigenvalues/1"})


class LearnerCore:
    """A family's statistics, and which contributions are in them. The first one decides by which rule it learns."""

    def __init__(
        self, statistics: Statistics | None = None, *, max_axis: int, max_bytes: int, rule: str | None = None
    ) -> None:
        self._statistics = statistics or Statistics()
        self._generation = sum(len(job.digests) for job in self._statistics.jobs.values())
        self._rule = rule
        self._max_axis = max_axis
        self._max_bytes = max_bytes

    @property
    def snapshot(self) -> Snapshot:
        return Snapshot(self._statistics, self._generation, self._rule or DEFAULT_RULE)

    def check(self, data: bytes, job: JobFacts) -> Contribution:
        """The contribution in these bytes; RefusedError unless it is one that this attempt of the job can have made."""
        if len(data) > self._max_bytes + HEADER_ROOM:
            raise RefusedError("too_large", f"{len(data)} bytes; at most {self._max_bytes} of statistics are accepted")
        try:
            contribution = Contribution.decode(data)
            self._check_origin(contribution, job)
            sizes, sharing = self._axes_of(contribution, job)
            check_contribution(contribution, sizes, sharing=sharing, max_bytes=self._max_bytes)
        except ContributionError as error:
            raise RefusedError(error.code, str(error)) from error
        return contribution

    def _axes_of(self, contribution: Contribution, job: JobFacts) -> tuple[dict[str, int], dict[str, int]]:
        """Size and sharing of the keys that it may hold; which ones a foreign model has only its worker knows."""
        if shapes.is_foreign(job.model):
            held = {axis_of(name) for name in contribution.sums}
            return believable(job.model, job.anchor, held, self._max_axis)
        return _axes(shapes.canonical_json(job.model), job.anchor, self._max_axis)

    def _check_origin(self, contribution: Contribution, job: JobFacts) -> None:
        if contribution.job != job.job_id:
            raise RefusedError("wrong_job", f"it says that it comes from {contribution.job}")
        if contribution.attempt != job.attempt:
            raise RefusedError("stale_token", f"it comes from attempt {contribution.attempt}, not {job.attempt}")
        if contribution.rule not in RULES or not (contribution.rule == job.rule == (self._rule or job.rule)):
            raise RefusedError("wrong_rule", f"rule {contribution.rule}; the job's is {job.rule}, here {self._rule}")
        if contribution.end > job.steps:
            raise RefusedError("bad_interval", f"it ends at step {contribution.end} of {job.steps}")

    def starts(self, job_id: str) -> set[int]:
        """Where the job's contributions begin that are in the statistics."""
        job = self._statistics.jobs.get(job_id)
        return set() if job is None else {start for start, _, _ in job.digests}

    def apply(self, contribution: Contribution) -> None:
        """Adds a contribution that the ledger holds; nothing where it was added before."""
        if contribution.start in self.starts(contribution.job):
            return
        self._rule = self._rule or contribution.rule
        self._statistics = RULES[self._rule].merge(self._statistics, contribution)
        self._generation += 1


def solve(snapshot: Snapshot) -> Solved | None:
    """The P of these statistics; None where no axis of any job can have a matrix."""
    statistics, rule = snapshot.statistics, snapshot.rule
    if not any(job.sums for job in statistics.jobs.values()):
        return None
    jobs: list[Json] = [
        {"job": name, "steps": job.steps, "contributions": len(job.digests)} for name, job in statistics.jobs.items()
    ]
    return Solved(rule, RULES[rule].solve(statistics), statistics.digest(), jobs, statistics.steps)


def rebuild(contributions: Iterable[Contribution], sums: Mapping[str, JobSum]) -> Statistics:
    """The statistics that hold these contributions and these folded sums (by job)."""
    jobs = dict(sums)
    for contribution in contributions:
        single = JobSum.of(contribution)
        jobs[contribution.job] = jobs[contribution.job].add(single) if contribution.job in jobs else single
    return Statistics(jobs)


@lru_cache(maxsize=256)
def _axes(model: str, anchor: str | None, max_axis: int) -> tuple[dict[str, int], dict[str, int]]:
    """Sizes and sharing by key of a resolved model, given as canonical JSON."""
    keys = shapes.axis_keys(json.loads(model), anchor, max_axis)
    return shapes.sizes_by_key(keys), shapes.sharing_by_key(keys)
