"""The meta-learner's side of starts: decides about final weights, and makes the versions that follow.

Everything it needs is in the ledger and the storage, so whatever is interrupted is simply found again. It runs in a
thread of its own: no exchange waits for it. It looks when it begins, and when the dispatcher, which sees weights of
any family wait, tells it that there are some. Reading models takes torch, which is loaded with the first weights.
"""

import logging
import sys
import threading
from collections.abc import Iterator

from service import clock, growing
from service.db.models import Job, StartContribution, StartVersion
from service.db.session import Database
from service.growing import Draft, Growth, Seen
from service.learning import StaleEpochError
from service.resolve import Resolved
from service.storage import Storage
from warpadam import shapes, tensorfile
from warpadam.learn import starts
from warpadam.learn.starts import Move, Precision, StartError, Weights
from warpadam.learn.statistics import Statistics
from workers.meta.ledger import DamagedLedgerError, read_statistics

logger = logging.getLogger(__name__)

KIND = "starts"
FORMAT = "warpadam.start/1"
PATIENCE_S = 5.0
"""After trouble it looks again by itself."""
LOOKS = 3
"""So often the ledger is read before a file that is missing counts as lost."""


class StartKeeper:
    """Takes the final weights of succeeded jobs until `close`. Its epoch is its meta-learner's."""

    def __init__(self, database: Database, storage: Storage, family_id: int, epoch: int) -> None:
        self._database, self._storage = database, storage
        self._family_id, self._epoch = family_id, epoch
        self._closing = False
        self._told = threading.Event()
        self._told.set()
        self._thread = threading.Thread(target=self._run, name="starts", daemon=True)

    def start(self) -> None:
        self._thread.start()

    def close(self) -> None:
        self._closing = True
        self._told.set()
        self._thread.join()

    def notice(self) -> None:
        """There may be weights to decide about."""
        self._told.set()

    def tend(self) -> None:
        """Decides what waits, then makes what is due. StaleEpochError where another meta-learner has begun."""
        with self._database.read() as session:
            waiting = growing.waiting(session, self._family_id)
        for row, job in waiting:
            self._decide(row, job)
        for _ in range(LOOKS):
            with self._database.read() as session:
                due = growing.due(session, self._family_id)
            try:
                for growth in due:
                    self._grow(growth)
            except DamagedLedgerError as error:  # what a job saw was folded meanwhile: the ledger is read again
                damaged = error
            else:
                return
        raise damaged

    def _run(self) -> None:
        patience: float | None = None
        while True:
            self._told.wait(patience)
            self._told.clear()
            if self._closing:
                return
            try:
                self.tend()
                patience = None
            except StaleEpochError:
                return  # whoever calls the meta-learner next ends it
            except Exception:
                logger.exception("the starts of family %s wait, and are tried again", self._family_id)
                patience = PATIENCE_S

    def _decide(self, row: StartContribution, job: Job) -> None:
        ours, now = (self._family_id, self._epoch, row.job_id), clock.now()
        try:
            norm = starts.distance(began(self._storage, job), final(self._storage, row, job))
        except StartError as error:
            code, message = error.code, str(error)
            logger.warning("the weights of %s do not count (%s): %s", row.job_id, code, message)
            self._database.write(lambda session: growing.refuse(session, *ours, code, message, now=now))
        else:
            self._database.write(lambda session: growing.accept(session, *ours, norm, now=now))

    def _grow(self, growth: Growth) -> None:
        with self._database.read() as session:
            parent = session.get(StartVersion, (self._family_id, growth.parent))
        shares, data = grow(self._storage, growth, parent)
        draft = Draft(growth, shares, starts.RULE, self._storage.put(KIND, data))
        row = self._database.write(
            lambda session: growing.publish(session, self._family_id, self._epoch, draft, now=clock.now())
        )
        logger.info("family %s: start %s from %s jobs", self._family_id, row.version, len(row.jobs))


def grow(
    storage: Storage, growth: Growth, parent: StartVersion | None, rule: str = starts.RULE
) -> tuple[list[tuple[float, float]], bytes]:
    """What each contribution counts for, and the file of the version that follows: a function of the ledger alone.

    `rule`: a version's own, to make it again. DamagedLedgerError where files were folded since `growth` was read.
    """
    rows = growth.contributions
    shares = starts.shares([row.steps for row in rows], [row.norm or 0.0 for row in rows])
    first = growth.jobs[rows[0].job_id]
    base = began(storage, first) if parent is None else _state(first, storage.get(parent.path))

    def moves() -> Iterator[Move]:
        for row, (weight, scale) in zip(rows, shares, strict=True):
            job = growth.jobs[row.job_id]
            start = began(storage, job)
            precise = {} if rule == starts.RULE_PLAIN else precision(storage, job, growth.seen[job.id], start)
            yield Move(weight, scale, start, final(storage, row, job), precise)

    weights = starts.grow(base, moves(), growth.step)
    return shares, tensorfile.write(weights, {"format": FORMAT, "anchor": growth.anchor})


def precision(storage: Storage, job: Job, seen: Seen, start: Weights) -> Precision:
    """What each coordinate of a job's weights counts for; empty, and so 1, where it contributed nothing to P."""
    statistics = read_statistics(storage, seen.rows, seen.sums) if seen.rows else Statistics()
    if job.id not in statistics.jobs:
        return {}
    resolved = Resolved.model_validate(job.resolved)
    keys = shapes.axis_keys(resolved.model, resolved.anchor, max_axis=sys.maxsize)
    return starts.precision(statistics.jobs[job.id].sums, keys, start)


def began(storage: Storage, job: Job) -> Weights:
    """The weights that a job trained from: its base's, its start's, or those of the seed."""
    base = Resolved.model_validate(job.resolved).base
    return _state(job, None if base is None else storage.get(base.path))


def final(storage: Storage, row: StartContribution, job: Job) -> Weights:
    """The weights that it ended with. StartError where their file is gone, or not of its model."""
    try:
        return _state(job, storage.get(row.path))
    except FileNotFoundError as error:
        raise StartError("missing", "the checkpoint's file is gone") from error


def _state(job: Job, data: bytes | None) -> Weights:
    """The job's model with the weights of a file, or else drawn from its seed, as arrays."""
    from workers import checkpoints
    from workers.failures import BadInputError
    from workers.tasks import models

    resolved = Resolved.model_validate(job.resolved)
    model = models.build(resolved.model, seed=resolved.init_seed or 0, anchor=resolved.anchor)
    if data is not None:
        try:
            checkpoints.load_model(model, data)
        except BadInputError as error:
            raise StartError("shape", str(error)) from error
    return {name: tensor.detach().numpy() for name, tensor in model.state_dict().items()}
