"""The proof that a family's starts are what the ledger of final weights says."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from sqlalchemy.orm import Session

from service import growing
from service.db import start_queries
from service.db.models import Job, StartContribution, StartVersion
from service.growing import Growth, Seen
from service.storage import Storage
from warpadam import tensorfile
from warpadam.learn.starts import StartError, Weights
from warpadam.tensorfile import TensorFileError
from workers.meta.ledger import DamagedLedgerError
from workers.meta.starts import grow

WITHIN = 1e-5
"""Of the largest weight of a tensor. On the machine that made it the bytes come out again; elsewhere the seed's weights
and sums may differ in their last bits."""


@dataclass(frozen=True)
class _Record:
    """A start, and what it was made of."""

    start: StartVersion
    parent: StartVersion | None
    rows: list[StartContribution]
    """In order of job id."""
    jobs: dict[str, Job]
    seen: dict[str, Seen]

    @property
    def is_whole(self) -> bool:
        """Whether retention has left everything that it takes."""
        gone = [self.start.collected_at, *(row.collected_at for row in self.rows)]
        if self.parent is not None:
            gone.append(self.parent.collected_at)
        return not any(gone)


def verify_starts(session: Session, storage: Storage, family_id: int) -> list[str]:
    """Makes the newest start of each anchor again from its parent and its contributors' weights; a line per problem."""
    problems: list[str] = []
    for start in start_queries.newest_of_each_anchor(session, family_id):
        problems += [f"start {start.version}: {line}" for line in _verify(session, storage, start)]
    return problems


def _verify(session: Session, storage: Storage, start: StartVersion) -> list[str]:
    ids = sorted(str(each["job"]) for each in start.jobs)
    rows = {row.job_id: row for row in start_queries.of_jobs(session, ids)}
    astray = [id_ for id_ in ids if id_ not in rows or rows[id_].round != start.round]
    if astray:
        return [f"the ledger has the weights of {', '.join(astray)} not in round {start.round}"]
    parent = session.get(StartVersion, (start.family_id, start.parent))
    jobs = {id_: session.get_one(Job, id_) for id_ in ids}
    record = _Record(start, parent, [rows[id_] for id_ in ids], jobs, growing.seen_by(session, ids))
    if not record.is_whole:
        return []
    try:
        return _compare(storage, record)
    except (StartError, DamagedLedgerError) as error:
        return [str(error)]
    except FileNotFoundError as error:
        return [f"a file that it was made of is gone: {error}"]
    except TensorFileError as error:
        return [f"its file: {error}"]


def _compare(storage: Storage, record: _Record) -> list[str]:
    start = record.start
    growth = Growth(start.anchor, start.round, start.parent, start.step, record.rows, record.jobs, record.seen)
    shares, data = grow(storage, growth, record.parent, start.rule)
    for told, (weight, scale) in zip(sorted(start.jobs, key=lambda each: str(each["job"])), shares, strict=True):
        if not np.allclose((told["weight"], told["scale"]), (weight, scale), rtol=1e-9):
            wanted = f"weight {weight:g} and scale {scale:g}"
            return [f"{told['job']} counts for {wanted} by the ledger, not {told['weight']:g} and {told['scale']:g}"]
    stored = storage.get(start.path)
    if data == stored or _is_near(tensorfile.read(data)[0], tensorfile.read(stored)[0]):
        return []
    return ["its file holds other weights than follow from its parent and its contributors"]


def _is_near(ours: Weights, theirs: Weights) -> bool:
    return ours.keys() == theirs.keys() and all(_differ_little(ours[name], theirs[name]) for name in ours)


def _differ_little(ours: NDArray[np.generic], theirs: NDArray[np.generic]) -> bool:
    if ours.shape != theirs.shape:
        return False
    mine, other = ours.astype(np.float64), theirs.astype(np.float64)
    return bool(np.abs(mine - other).max(initial=0.0) <= WITHIN * np.abs(mine).max(initial=0.0))
