"""What the references of a job description mean at the moment of its submission, and whether they fit together.

`Resolved` is stored with the job: an attempt needs nothing but it and the description, and what an alias means later
changes nothing. The family is made here on first use, and remembers its columns here.
"""

import secrets
from collections.abc import Collection
from dataclasses import dataclass

from pydantic import BaseModel, ConfigDict
from sqlalchemy.orm import Session

from service import cluster, codes, datasets, families, inits, learning, sizing, warps
from service.data.info import DatasetInfo
from service.db import family_queries, warp_queries
from service.db.models import Dataset, Family, WarpVersion
from service.errors import BadReference, DatasetNotReady, InvalidRequest, NotFound
from service.inits import Base
from service.spec import JobSpec, Task
from warpadam import shapes

_BY_ITSELF = ("champion", "latest")
OWN_DATA_ROLES = ("input", "channels", "taps", "output")
"""The roles of axes of which a job's own data gives a basis (`warpadam.learn.own_data`)."""


@dataclass(frozen=True)
class Limits:
    """The server's: who does not allow user code, if anybody, and the longest axis that gets a matrix."""

    code_refused: codes.Refusal | None = "server"
    max_axis: int = shapes.MAX_AXIS


@dataclass(frozen=True)
class Warning:
    """What the user should know of a job that is accepted all the same."""

    code: str
    param: str
    message: str


class Resolved(BaseModel):
    """What the description's references meant at submit."""

    model_config = ConfigDict(frozen=True, extra="ignore")

    model: dict[str, object]
    """The resolved model of `warpadam.shapes`."""
    anchor: str | None
    """What hidden axes are aligned with; None: they have no keys."""
    init_identity: str | None
    """`family`, or the base checkpoint's sha256; None where weights are drawn from `seed`."""
    init_seed: int | None
    """Seed of the weights, where they grow from the family's seed."""
    base: Base | None
    steps: int
    seed: int
    warp_version: int | None
    start_version: int | None
    """Version of the family's start, where the job begins with it; 0: as it was born."""
    fresh: tuple[str, ...] = ()
    """Tensors that are drawn although the job begins with a start: it has another number of outputs."""
    dataset_id: str
    dataset_sha256: str | None
    columns: dict[str, list[str]]
    """Outer axis key → names of its entries in order, where the dataset names them."""
    package: codes.Package | None = None
    """The code that makes the model, where it is none of ours."""


@dataclass(frozen=True)
class Resolution:
    family: Family
    spec: JobSpec
    """The description with what was made up for it: the seed."""
    resolved: Resolved
    warnings: list[Warning]
    pending_reason: dict[str, str] | None


def resolve(session: Session, project: str, spec: JobSpec, dataset: Dataset, limits: Limits) -> Resolution:
    """Resolves and checks a description. Raises InvalidRequest, BadReference, DatasetNotReady or Forbidden."""
    package = codes.package_of(session, project, spec, limits.code_refused)
    info = info_of(session, project, dataset)
    model = sizing.model_of(spec, info, package.sha256 if package else None)
    sizing.check_training(spec, info)
    family = families.ensure(session, project, spec.family)
    _check_rule(session, family, spec)
    start = inits.choose(session, project, spec, family, model)
    keys = _keys(model, start.anchor, limits.max_axis)
    columns = columns_of(info, spec.task, keys)
    _remember_columns(session, family, columns)
    warp, warnings = _warp(session, family, spec, None if shapes.is_foreign(model) else set(keys))
    warnings += [Warning("start_not_matching", "init", message) for message in start.warnings]
    seed = spec.training.seed if spec.training.seed is not None else secrets.randbits(32)
    shortage = cluster.last_seen(session).shortage(spec.resources)
    if shortage is not None:
        message = f"This job {shortage}: it waits until the cluster grows."
        warnings.append(Warning(cluster.TOO_LARGE, "resources", message))
    resolved = Resolved(
        model=model,
        anchor=start.anchor,
        init_identity=start.identity,
        init_seed=start.seed,
        base=start.base,
        steps=sizing.steps_of(spec, info),
        seed=seed,
        warp_version=warp.version if warp else None,
        start_version=start.start_version,
        fresh=start.fresh,
        dataset_id=dataset.id,
        dataset_sha256=dataset.sha256,
        columns=columns,
        package=package,
    )
    seeded = spec.model_copy(update={"training": spec.training.model_copy(update={"seed": seed})})
    pending = {"code": cluster.TOO_LARGE, "message": shortage} if shortage else None
    return Resolution(family, seeded, resolved, warnings, pending)


def _keys(model: dict[str, object], anchor: str | None, max_axis: int) -> dict[str, int]:
    """Axis keys and sizes; of a foreign model those that it may have."""
    if shapes.is_foreign(model):
        sizes = shapes.outer_sizes(model)
        return {f"{role}:{size}": size for role, size in sizes.items() if 1 < size <= max_axis}
    return shapes.sizes_by_key(shapes.axis_keys(model, anchor, max_axis))


def _check_rule(session: Session, family: Family, spec: JobSpec) -> None:
    """A family learns by one rule: sums of two rules cannot be added."""
    rule = learning.rule(session, family.id)
    if spec.contributes and rule not in (None, spec.optimizer.learn):
        message = f"Family {family.name} learns by {rule}: use learn: {rule} or none, or another family."
        raise InvalidRequest(message, param="optimizer.learn")


def info_of(session: Session, project: str, dataset: Dataset) -> DatasetInfo:
    """What is known of the dataset, which from here to the commit nobody can delete."""
    row = session.get(Dataset, dataset.id, with_for_update={"read": True}, populate_existing=True)
    if row is None or row.project != project or row.deleted_at is not None:
        raise BadReference(f"There is no dataset {dataset.id}.", param="dataset.id", code="dataset_not_found")
    if row.state != "ready" or row.info is None:
        raise DatasetNotReady(f"Dataset {row.id} is {row.state}: {row.error or 'wait until it is ready.'}")
    return datasets.info(row)


def columns_of(info: DatasetInfo, task: Task, keys: Collection[str]) -> dict[str, list[str]]:
    """Names of the entries of outer axes that have a matrix and named columns."""
    named = {}
    if info.columns:
        named[f"input:{len(info.columns)}"] = list(info.columns)
    if info.target_columns and task == "regression":
        named[f"output:{len(info.target_columns)}"] = list(info.target_columns)
    return {key: names for key, names in named.items() if key in keys}


def _remember_columns(session: Session, family: Family, columns: dict[str, list[str]]) -> None:
    """The first job's names bind the family; raises InvalidRequest where these differ."""
    if all(family.columns.get(key) == names for key, names in columns.items()):
        return
    locked = family_queries.locked(session, family.id)
    assert locked is not None
    if (difference := other_columns(locked, columns)) is not None:
        message = f"{difference} Give the same columns in the same order, or use another family."
        raise InvalidRequest(message, param="dataset")
    locked.columns = {**columns, **locked.columns}
    session.flush()


def other_columns(family: Family, columns: dict[str, list[str]]) -> str | None:
    """What a dataset's columns differ in from those that bind the family; None where they do not."""
    for key, names in columns.items():
        known = family.columns.get(key)
        if known is not None and known != names:
            at = next(index for index, pair in enumerate(zip(known, names, strict=True)) if pair[0] != pair[1])
            return (
                f"The family {family.name} knows {key} by other columns: at place {at + 1} it has {known[at]!r}, this "
                f"dataset {names[at]!r}."
            )
    return None


def _warp(
    session: Session, family: Family, spec: JobSpec, keys: set[str] | None
) -> tuple[WarpVersion | None, list[Warning]]:
    """The version of P that the job begins with, and what to warn of.

    `keys` None: a foreign model, and only its worker learns which axes it has.
    """
    ref = spec.optimizer.warp
    if spec.optimizer.name != "warpadam" or ref == "none":
        return None, []
    if ref == "data":
        return None, _nothing_of_its_own(keys) if keys is not None else []
    try:
        found = warps.resolve(session, family, ref)
    except NotFound as error:
        if isinstance(ref, str) and not ref.isdigit() and warp_queries.newest_number(session, family.id) == 0:
            return None, []
        raise BadReference(error.detail, param="optimizer.warp", code="warp_not_found") from error
    if found is not None and not warp_queries.counted_on(session, found):
        raise BadReference(warps.collected(family, found), param="optimizer.warp", code="warp_not_found")
    if found is None or keys is None or keys & {entry["key"] for entry in found.keys}:
        return found, []
    message = _not_covering(family, found, keys)
    if ref not in _BY_ITSELF:
        raise InvalidRequest(message, param="optimizer.warp")
    return None, [Warning("warp_not_covering", "optimizer.warp", f"{message} The job trains without P.")]


def _nothing_of_its_own(keys: set[str]) -> list[Warning]:
    """What to warn of where the job's own data says nothing of the axes that have a matrix."""
    if any(key.rpartition(":")[0] in OWN_DATA_ROLES for key in keys):
        return []
    message = "The data says nothing of this model's axes (optimizer.warp: data). The job trains without P."
    return [Warning("warp_not_covering", "optimizer.warp", message)]


def _not_covering(family: Family, version: WarpVersion, keys: set[str]) -> str:
    theirs = ", ".join(entry["key"] for entry in version.keys[:4])
    ours = ", ".join(sorted(keys)[:4]) or "none"
    name = f"Version {version.version} of the family {family.name}"
    return f"{name} has no axis of this model: it has {theirs}, the model {ours}."
