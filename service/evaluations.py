"""Evaluation jobs: what finished jobs of a family say of its versions of P, for the guard.

An evaluation contributes nothing (`learn: none`), pins what it runs under (a version or an alias that it does not
follow, or none), and has succeeded. Its setting is everything else that decides its loss but the learning rate, which
each method may choose for itself: two evaluations of one setting differ by their P alone. AdamW is `name: adamw`, or
`warp: none`, which is the same update.
"""

import hashlib
import json
from dataclasses import dataclass

from sqlalchemy.orm import Session

from service import aliases
from service.db import evaluation_queries
from service.db.models import Family, Job, WarpVersion
from service.spec import JobSpec, read_stored


@dataclass(frozen=True)
class Evaluation:
    """One run. `task`: sha256 of its data. `version`: its P; None: AdamW. `loss`: validation loss at the end."""

    task: str
    setting: str
    lr: float
    version: int | None
    loss: float


@dataclass(frozen=True)
class Candidate:
    """A version that is newer than the champion. `learned_from`: sha256 of the data that its jobs had."""

    version: int
    learned_from: frozenset[str]
    number: int | None
    """Which candidate of the family it is, from 1; None: not tested yet."""


@dataclass(frozen=True)
class Trial:
    """What the guard judges: a family's champion, if any, newer versions not turned down yet, and evaluations."""

    champion: int | None
    candidates: list[Candidate]
    evaluations: list[Evaluation]
    tested: int
    """How many candidates the family has tested so far."""


def mark(session: Session, family: Family) -> tuple[object, ...] | None:
    """Equal marks, equal trials: a look that costs little. None where the family does not promote by the guard."""
    if family.promotion != "guarded":
        return None
    return (aliases.version_of(session, family.id, "champion"), *evaluation_queries.counts(session, family.id))


def trial(session: Session, family: Family) -> Trial:
    champion = aliases.version_of(session, family.id, "champion")
    versions = evaluation_queries.versions(session, family.id)
    data = evaluation_queries.data_of_jobs(session, {str(job["job"]) for row in versions for job in row.jobs})
    seen = {row.version: frozenset(data[str(job["job"])] for job in row.jobs) for row in versions}
    of_champion = frozenset() if champion is None else seen.get(champion, frozenset())
    return Trial(
        champion,
        [
            Candidate(row.version, seen[row.version] | of_champion, _number(row))
            for row in versions
            if row.version > (champion or 0) and not _is_turned_down(row)
        ],
        [found for job in evaluation_queries.succeeded(session, family.id) if (found := _read(job)) is not None],
        sum(_number(row) is not None for row in versions),
    )


def _number(row: WarpVersion) -> int | None:
    number = (row.comparison or {}).get("number")
    return number if isinstance(number, int) else None


def _is_turned_down(row: WarpVersion) -> bool:
    return (row.comparison or {}).get("verdict") == "keep"


def _read(job: Job) -> Evaluation | None:
    """None where the job is no evaluation."""
    spec = read_stored(job.spec)
    optimizer = spec.optimizer
    loss = (job.result or {}).get("final", {}).get("val_loss")
    if spec.contributes or optimizer.follow or not isinstance(loss, int | float) or loss <= 0:
        return None
    plain = optimizer.name == "adamw" or optimizer.warp == "none"
    if not plain and (optimizer.warp == "data" or job.warp_version is None):
        return None
    version = None if plain else job.warp_version
    return Evaluation(str(job.resolved["dataset_sha256"]), _setting(spec, job), optimizer.lr, version, float(loss))


def _setting(spec: JobSpec, job: Job) -> str:
    resolved = {name: job.resolved.get(name) for name in ("model", "init_identity", "init_seed", "steps", "seed")}
    given = {
        "task": spec.task,
        "optimizer": spec.optimizer.model_dump(include={"betas", "eps", "weight_decay"}),
        "training": spec.training.model_dump(
            include={"batch_size", "schedule", "warmup_steps", "grad_clip", "precision"}
        ),
    }
    return hashlib.sha256(json.dumps([resolved, given], sort_keys=True).encode()).hexdigest()
