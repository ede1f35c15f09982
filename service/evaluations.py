"""Evaluation jobs: what finished jobs of a family say of its versions of P, for the guard.

An evaluation contributes nothing (`learn: none`), pins what it runs under (a version or an alias that it does not
follow, or none), and has succeeded. Its setting is everything else that decides its loss but the learning rate, which
each method may choose for itself: two evaluations of one setting differ by their P alone. AdamW is `name: adamw`, or
`warp: none`, which is the same update.
"""

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass, field

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
    number: int | None = None
    """Which test of the family this is, from 1; None: not tested yet against the present champion."""
    champion: Mapping[str, float] = field(default_factory=dict)
    adamw: Mapping[str, float] = field(default_factory=dict)
    """Task → difference of log losses, of the pairs that were looked at before: they stay as they were then."""


@dataclass(frozen=True)
class Trial:
    """What the guard judges: a family's champion, if any, newer versions not turned down yet, and evaluations."""

    champion: int | None
    candidates: list[Candidate]
    evaluations: list[Evaluation]
    unfinished: frozenset[str]
    """Tasks of which evaluations still wait or run: their pairs are not complete yet."""
    tested: int
    """How many tests the family has made so far."""


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
            _candidate(row, champion, seen[row.version] | of_champion)
            for row in versions
            if row.version > (champion or 0) and not _is_turned_down(row)
        ],
        [found for job in evaluation_queries.succeeded(session, family.id) if (found := _read(job)) is not None],
        frozenset(
            str(job.resolved["dataset_sha256"])
            for job in evaluation_queries.unfinished(session, family.id)
            if not read_stored(job.spec).contributes
        ),
        max((int((row.comparison or {}).get("number", 0)) for row in versions), default=0),
    )


def _candidate(row: WarpVersion, champion: int | None, learned_from: frozenset[str]) -> Candidate:
    """Against another champion it is another test, of which only the pairs with AdamW are known."""
    found = row.comparison or {}
    pairs = found.get("pairs", {})
    if "number" not in found or found.get("champion_version") != champion:
        return Candidate(row.version, learned_from, adamw=pairs.get("adamw", {}))
    return Candidate(row.version, learned_from, found["number"], pairs.get("champion", {}), pairs.get("adamw", {}))


def _is_turned_down(row: WarpVersion) -> bool:
    return (row.comparison or {}).get("verdict") == "keep"


def _read(job: Job) -> Evaluation | None:
    """None where the job is no evaluation."""
    spec = read_stored(job.spec)
    optimizer = spec.optimizer
    loss = (job.result or {}).get("final", {}).get("val_loss")
    if spec.contributes or optimizer.follow or optimizer.adapt != "none" or not optimizer.project_back:
        return None
    if not isinstance(loss, int | float) or loss <= 0:
        return None
    plain = optimizer.name == "adamw" or optimizer.warp == "none"
    if not plain and (optimizer.warp == "data" or job.warp_version is None):
        return None
    version = None if plain else job.warp_version
    return Evaluation(str(job.resolved["dataset_sha256"]), _setting(spec, job), optimizer.lr, version, float(loss))


def _setting(spec: JobSpec, job: Job) -> str:
    resolved = {
        name: job.resolved.get(name)
        for name in ("model", "init_identity", "init_seed", "start_version", "steps", "seed")
    }
    given = {
        "task": spec.task,
        "optimizer": spec.optimizer.model_dump(include={"betas", "eps", "weight_decay", "nesterov"}),
        "training": spec.training.model_dump(
            include={"batch_size", "schedule", "warmup_steps", "grad_clip", "precision"}
        ),
    }
    return hashlib.sha256(json.dumps([resolved, given], sort_keys=True).encode()).hexdigest()
