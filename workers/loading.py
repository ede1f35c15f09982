"""From a claimed job to a plan: everything is read here, in the runner, so that workers need no credentials."""

from dataclasses import dataclass

from sqlalchemy.orm import Session

from service import attempts, codes, datasets, learning, warps
from service.attempts import Claim, Fence
from service.data import DataError
from service.db.models import Dataset, Family
from service.db.session import Database
from service.settings import Settings
from service.storage import Storage
from workers.failures import BadInputError, CodeDisabledError
from workers.plan import Plan
from workers.tasks.data import Split


@dataclass(frozen=True)
class Memory:
    """Where the service keeps what it knows."""

    settings: Settings
    database: Database
    storage: Storage

    @classmethod
    def of(cls, settings: Settings) -> "Memory":
        return cls(settings, Database(settings.database, settings.database_limits), Storage(settings.storage))


@dataclass(frozen=True)
class _Rows:
    """What the database says, read in one transaction."""

    claim: Claim
    dataset: Dataset
    package: Dataset | None
    warp: bytes | None
    watermark: int
    resume: tuple[str, str] | None
    """Paths of the newest checkpoint's model and state."""


def load(memory: Memory, fence: Fence) -> Plan:
    """The plan of an attempt. LostLease, BadInputError, or whatever the storage raises."""
    with memory.database.read() as session:
        rows = _read(session, fence)
    spec, resolved = rows.claim.spec, rows.claim.resolved
    model, state = rows.resume or (None, None)
    return Plan(
        job=fence.job_id,
        attempt=fence.attempt,
        token=fence.token,
        family_id=rows.claim.job.family_id,
        spec=spec,
        model=resolved.model,
        anchor=resolved.anchor,
        steps=resolved.steps,
        seed=resolved.seed,
        init_seed=resolved.seed if resolved.init_seed is None else resolved.init_seed,
        split=_split(memory, rows),
        base=memory.storage.get(resolved.base.path) if resolved.base and model is None else None,
        fresh=resolved.fresh,
        warp=rows.warp,
        warp_version=resolved.warp_version,
        resume_model=memory.storage.get(model) if model else None,
        resume_state=memory.storage.get(state) if state else None,
        workers=rows.claim.workers,
        watermark=rows.watermark,
        package=_package(memory, rows),
        confinement=memory.settings.code_confinement,
        max_axis=memory.settings.max_axis,
        max_contribution_bytes=memory.settings.max_contribution_bytes,
    )


def _read(session: Session, fence: Fence) -> _Rows:
    claim = attempts.read(session, fence)
    dataset = session.get_one(Dataset, claim.resolved.dataset_id)
    version = claim.resolved.warp_version
    warp = None
    if version is not None:
        family = session.get_one(Family, claim.job.family_id)
        warp = warps.content(session, warps.get(session, family, version))
    newest = attempts.latest_checkpoint(session, fence.job_id)
    resume = (newest.path, newest.state_path) if newest and newest.state_path else None
    pinned = claim.resolved.package
    package = session.get_one(Dataset, pinned.dataset_id) if pinned else None
    return _Rows(claim, dataset, package, warp, learning.watermark(session, fence.job_id), resume)


def _package(memory: Memory, rows: _Rows) -> bytes | None:
    pinned = rows.claim.resolved.package
    if pinned is None or rows.package is None:
        return None
    if not memory.settings.allow_code:
        raise CodeDisabledError("This service runs user code no more: ask who runs it to set WARPADAM_ALLOW_CODE.")
    try:
        return codes.open_package(memory.storage, memory.settings, rows.package, pinned.sha256)
    except DataError as error:
        raise BadInputError(str(error)) from error


def _split(memory: Memory, rows: _Rows) -> Split:
    try:
        arrays = datasets.open_arrays(memory.storage, memory.settings, rows.dataset, rows.claim.spec.task)
    except DataError as error:
        raise BadInputError(str(error)) from error
    return Split(arrays.x_train, arrays.y_train, arrays.x_val, arrays.y_val)
