"""Where a job's weights begin: drawn from its seed, a checkpoint's, or the start of its family."""

from dataclasses import dataclass, field
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict
from sqlalchemy.orm import Session

from service import aliases, checkpoints, warps
from service.db import start_queries
from service.db.models import Checkpoint, Family, StartVersion
from service.errors import InvalidRequest, NotFound
from service.spec import FromCheckpoint, FromFamily, JobSpec
from warpadam import shapes

Model = dict[str, object]


class Base(BaseModel):
    """The file of the storage that a job's weights are read from: a checkpoint, or a version of a start."""

    model_config = ConfigDict(frozen=True)

    checkpoint_id: str | None = None
    path: str
    sha256: str


@dataclass(frozen=True)
class Init:
    """`anchor` None: hidden axes are not aligned with anybody's."""

    anchor: str | None = None
    identity: str | None = None
    seed: int | None = None
    base: Base | None = None
    start_version: int | None = None
    fresh: tuple[str, ...] = ()
    """Tensors that are drawn all the same, because the job has another number of outputs."""
    warnings: list[str] = field(default_factory=list)


def choose(session: Session, project: str, spec: JobSpec, family: Family, model: Model) -> Init:
    """Raises BadReference (`checkpoint_not_found`) and InvalidRequest where a checkpoint is of another model."""
    init = spec.init
    if init == "random" or isinstance(init, FromCheckpoint):
        return of_no_family(session, project, init, model)
    seed = shapes.init_seed(str(family.id), model)
    pair = _warp_of_pair(session, family, spec)
    if isinstance(init, FromFamily):
        return _from_base(session, project, family, model, init.family, seed, pair)
    return _from_seed(session, family, model, seed, pair)


def of_no_family(session: Session, project: str, init: Literal["random"] | FromCheckpoint, model: Model) -> Init:
    """Weights that no family hands out. Raises as `choose`."""
    if init == "random":
        return Init()
    found = checkpoints.resolve_reference(session, project, init.checkpoint, param="init.checkpoint")
    _check_same_model(found, model, init.checkpoint)
    return Init(shapes.anchor(model, found.sha256), found.sha256, base=_file_of(found))


def _from_base(
    session: Session, project: str, family: Family, model: Model, ref: str, seed: int, pair: int | None
) -> Init:
    """The family's start that grew from a base checkpoint, or the base itself."""
    base = checkpoints.resolve_reference(session, project, ref, param="init.family")
    theirs = model if base.model is None else base.model  # an upload does not say its model: the worker compares
    fresh = _other_tensors(theirs, model)
    if fresh is None:
        why = f"The base {ref} is of another model: {_difference(theirs, model)}. The job starts from the seed."
        return _seeded(model, seed, [why])
    anchor = shapes.anchor(theirs, base.sha256)
    start = _current(session, family, anchor, pair)
    file = _file_of(base) if start is None else _file_of(start)
    return Init(anchor, base.sha256, seed, file, start.version if start else 0, fresh, _of_fresh(fresh))


def _from_seed(session: Session, family: Family, model: Model, seed: int, pair: int | None) -> Init:
    """The family's start for this architecture; for one that differs in its outputs only, its other layers."""
    start = _current(session, family, shapes.anchor(model, "family"), pair)
    if start is not None:
        return Init(start.anchor, "family", seed, _file_of(start), start.version)
    others = [each for each in start_queries.newest_of_each_anchor(session, family.id) if each.identity == "family"]
    for other in others if family.starts else ():
        fresh = _other_tensors(other.model, model)
        near = _current(session, family, other.anchor, pair) if fresh else None
        if near is not None and fresh:
            return Init(near.anchor, "family", seed, _file_of(near), near.version, fresh, _of_fresh(fresh))
    if others and family.starts:
        why = f"The newest start of family {family.name} is of another model: {_difference(others[0].model, model)}."
        return _seeded(model, seed, [f"{why} The job starts from the seed."])
    return _seeded(model, seed, [])


def _seeded(model: Model, seed: int, warnings: list[str]) -> Init:
    return Init(shapes.anchor(model, "family"), "family", seed, start_version=0, warnings=warnings)


def _warp_of_pair(session: Session, family: Family, spec: JobSpec) -> int | None:
    """The version of P whose start the job gets: the one that it asks for, else the champion."""
    ref = spec.optimizer.warp
    if spec.optimizer.name != "warpadam" or ref in aliases.NO_ALIAS:
        return aliases.version_of(session, family.id, "champion")
    try:
        found = warps.resolve(session, family, ref)
    except NotFound:  # told where the P is resolved
        return None
    return None if found is None else found.version


def _current(session: Session, family: Family, anchor: str, pair: int | None) -> StartVersion | None:
    """The start in use beside a version of P; without one, the newest where the family promotes what is newest."""
    if not family.starts or (pair is None and family.promotion != "latest"):
        return None
    return start_queries.newest(session, family.id, anchor, up_to_warp=pair, has_file=True)


def _file_of(row: Checkpoint | StartVersion) -> Base:
    checkpoint_id = row.id if isinstance(row, Checkpoint) else None
    return Base(checkpoint_id=checkpoint_id, path=row.path, sha256=row.sha256)


def _other_tensors(theirs: dict[str, Any], ours: Model) -> tuple[str, ...] | None:
    """The tensors that another number of outputs changes; None where the models differ in anything else."""
    if theirs == ours or shapes.is_foreign(ours):  # whatever code makes of another number of outputs
        return () if theirs == ours else None
    if {**theirs, "output": None} != {**ours, "output": None}:
        return None
    known = {parameter.name: parameter.shape for parameter in shapes.parameters(theirs)}
    return tuple(each.name for each in shapes.parameters(ours) if known[each.name] != each.shape)


def _of_fresh(fresh: tuple[str, ...]) -> list[str]:
    if not fresh:
        return []
    return [f"The start has another number of outputs: {', '.join(fresh)} start fresh, and the job gives none back."]


def _difference(theirs: dict[str, Any], ours: Model) -> str:
    fields = [name for name in sorted({*theirs, *ours}) if theirs.get(name) != ours.get(name)]
    return "; ".join(f"its {name} is {theirs.get(name)}, this job's is {ours.get(name)}" for name in fields)


def _check_same_model(found: Checkpoint, model: Model, ref: str) -> None:
    """An uploaded checkpoint does not say its model: the worker compares names and shapes then."""
    if found.model is None or found.model == model:
        return
    raise InvalidRequest(
        f"The checkpoint {ref} is of another model: {_difference(found.model, model)}.", param="init.checkpoint"
    )
