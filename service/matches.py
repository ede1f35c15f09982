"""Which families' P suit a dataset and a model: asked over HTTP, measured by a process that the dispatcher starts.

A match is a row that waits. Whoever claims it has a lease, and the number of the attempt as its fence; a process that
dies, or whose dispatcher does, loses the lease, and the match is tried again, `MAX_TRIES` times in all. A project's
families alone are looked at, and named.
"""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Discriminator, Field, Tag, field_validator
from sqlalchemy.orm import Session

from service import aliases, families, inits, resolve, sizing, warps
from service.data.info import DatasetInfo
from service.db import family_queries, match_queries
from service.db.models import Dataset, Family, FamilyMatch
from service.errors import BadReference, InvalidRequest, NotFound, QuotaExceeded
from service.ids import new_id
from service.spec import NAME_PATTERN, DatasetRef, FromCheckpoint, JobSpec, Task
from service.spec_models import Convnet, Mlp, Transformer
from service.spec_parts import Part
from warpadam import shapes

MAX_TRIES = 3
LEASE_S = 30.0
MOST_WAITING = 10
"""Of one project, those that are measured among them."""
MOST_FAMILIES = 50
"""So many P are compared in one match; a project that has more names some."""
USUAL_BATCH = 64
KEPT = timedelta(days=30)
RETRY_AFTER_S = 30


def _arch(value: Any) -> str | None:
    """None makes pydantic say which ones there are."""
    found = value.get("arch") if isinstance(value, dict) else getattr(value, "arch", None)
    return found if isinstance(found, str) else None


_BuiltinModel = Annotated[
    Annotated[Mlp, Tag("mlp")] | Annotated[Convnet, Tag("convnet")] | Annotated[Transformer, Tag("transformer")],
    Discriminator(
        _arch,
        custom_error_type="unknown_model",
        custom_error_message="arch must be mlp, convnet or transformer: uploaded code is not measured",
    ),
]


class MatchSpec(Part):
    """What is to be trained, and which families are asked."""

    dataset: DatasetRef
    task: Task
    model: _BuiltinModel
    init: Literal["random"] | FromCheckpoint = "random"
    families: (
        Annotated[list[Annotated[str, Field(pattern=NAME_PATTERN)]], Field(min_length=1, max_length=50)] | None
    ) = None
    """Only these; absent: all of the project."""
    limit: Annotated[int, Field(ge=1, le=20)] = 5
    """At most so many are trained with, and listed."""
    batch_size: Annotated[int, Field(ge=1, le=1_000_000)] | None = None
    """Absent: 64, or all examples where there are fewer."""
    seed: Annotated[int, Field(ge=0, lt=2**62)] = 0

    @field_validator("init", mode="before")
    @classmethod
    def _not_a_start(cls, value: Any) -> Any:
        if value == "family" or (isinstance(value, Mapping) and "family" in value):
            raise ValueError(
                "families are compared from one start: give random, or {checkpoint: …}, such as the base of theirs"
            )
        return value

    def job(self, batch_size: int) -> JobSpec:
        """The same as the description of a job, of no family in particular."""
        given = self.model_dump(include={"dataset", "task", "model", "init"}, exclude_none=True)
        training = {"batch_size": batch_size, "seed": self.seed, "eval_every": 0, "checkpoint_every": 0}
        return JobSpec.model_validate({"family": "match", **given, "training": training})


class Resolved(BaseModel):
    """What the references meant when the match was asked for."""

    model_config = ConfigDict(frozen=True, extra="ignore")

    model: dict[str, object]
    anchor: str | None
    base: inits.Base | None
    batch_size: int
    columns: dict[str, list[str]]


@dataclass(frozen=True)
class Choice:
    """A family's champion whose axes, some of them, are the model's; `warp` is its file."""

    family: str
    version: int
    covered: list[str]
    warp: bytes


@dataclass(frozen=True)
class Unsuitable:
    """A family that cannot be measured. Codes: no_champion, no_axis, other_columns, not_measured."""

    family: str
    version: int | None
    code: str
    reason: str

    def as_json(self) -> dict[str, Any]:
        return dict(vars(self))


def submit(
    session: Session, project: str, spec: MatchSpec, dataset: Dataset, limits: resolve.Limits, now: datetime
) -> FamilyMatch:
    """Makes the match, queued. Raises as the submission of a job does; QuotaExceeded where too many wait."""
    if match_queries.unfinished(session, project) >= MOST_WAITING:
        raise QuotaExceeded(
            f"This project has {MOST_WAITING} matches that are not finished: wait until one is.",
            retry_after_s=RETRY_AFTER_S,
        )
    info = resolve.info_of(session, project, dataset)
    batch_size = spec.batch_size or max(1, min(USUAL_BATCH, sizing.examples(info, sizing.context_of(spec.job(1)))))
    job = spec.job(batch_size)
    model = sizing.model_of(job, info)
    _check_batches(job, info)
    for name in spec.families or ():
        _named(session, project, name)
    start = inits.of_no_family(session, project, spec.init, model)
    keys = shapes.sizes_by_key(shapes.axis_keys(model, start.anchor, limits.max_axis))
    columns = resolve.columns_of(info, spec.task, keys)
    resolved = Resolved(model=model, anchor=start.anchor, base=start.base, batch_size=batch_size, columns=columns)
    row = FamilyMatch(
        id=new_id("match"),
        project=project,
        dataset_id=dataset.id,
        state="queued",
        request=spec.model_dump(mode="json"),
        resolved=resolved.model_dump(mode="json"),
        created_at=now,
    )
    session.add(row)
    session.flush()
    return row


def _check_batches(job: JobSpec, info: DatasetInfo) -> None:
    """As of a job, with the names that fields have here."""
    try:
        sizing.check_training(job, info)
    except InvalidRequest as error:
        found = [replace(each, param=each.param.removeprefix("training.")) for each in error.errors]
        raise InvalidRequest.of(found) from None


def _named(session: Session, project: str, name: str) -> Family:
    try:
        return families.get(session, project, name)
    except NotFound as error:
        raise BadReference(error.detail, param="families", code="family_not_found") from error


def get(session: Session, project: str, match_id: str) -> FamilyMatch:
    """Raises NotFound."""
    row = match_queries.find(session, project, match_id)
    if row is None:
        raise NotFound(f"There is no match {match_id}.")
    return row


def any_waits(session: Session, now: datetime) -> bool:
    return bool(match_queries.claimable(session, now, most=1))


def claim(session: Session, now: datetime) -> FamilyMatch | None:
    """Takes the next match for a while; None where none waits. One that had all its tries fails."""
    for row in match_queries.claimable(session, now, most=20):
        taken = match_queries.take(session, row, now, _later(now))
        if taken is None:
            continue
        if taken.attempts > MAX_TRIES:
            _fail(taken, "worker_lost", f"The process that measured was lost {MAX_TRIES} times: ask again.", now)
            continue
        taken.started_at = taken.started_at or now
        session.flush()
        return taken
    return None


def renew(session: Session, match_id: str, attempt: int, now: datetime) -> bool:
    """Whether the match is still this attempt's."""
    row = match_queries.held(session, match_id, attempt)
    if row is not None:
        row.lease_until = _later(now)
    return row is not None


def succeed(session: Session, match_id: str, attempt: int, result: dict[str, Any], now: datetime) -> None:
    """Writes what was found, unless the match is another's by now."""
    row = match_queries.held(session, match_id, attempt)
    if row is not None:
        row.state, row.result, row.lease_until, row.finished_at = "succeeded", result, None, now


def fail(session: Session, match_id: str, attempt: int, code: str, message: str, now: datetime) -> None:
    """For good: another try would end in the same way."""
    row = match_queries.held(session, match_id, attempt)
    if row is not None:
        _fail(row, code, message, now)


def try_again(session: Session, match_id: str, attempt: int, reason: str, now: datetime) -> None:
    """The process ended without a word; after the last try that is how the match ends."""
    row = match_queries.held(session, match_id, attempt)
    if row is None:
        return
    if row.attempts >= MAX_TRIES:
        _fail(row, "worker_lost", f"{reason} It was tried {MAX_TRIES} times.", now)
    else:
        row.state, row.lease_until = "queued", None


def release(session: Session, match_id: str, attempt: int) -> None:
    """Gives the match back: that the dispatcher was stopped says nothing of it, so it costs no try."""
    row = match_queries.held(session, match_id, attempt)
    if row is not None:
        row.state, row.lease_until, row.attempts = "queued", None, row.attempts - 1


def _fail(row: FamilyMatch, code: str, message: str, now: datetime) -> None:
    row.state, row.failure, row.lease_until, row.finished_at = "failed", {"code": code, "message": message}, None, now


def _later(now: datetime) -> datetime:
    return now + timedelta(seconds=LEASE_S)


def choices(session: Session, row: FamilyMatch, keys: Mapping[str, int]) -> tuple[list[Choice], list[Unsuitable]]:
    """The project's families, newest first: those whose champion has an axis of the model, and why the others have not.

    `keys`: the model's axes.
    """
    spec, resolved = MatchSpec.model_validate(row.request, extra="ignore"), Resolved.model_validate(row.resolved)
    found: list[Choice] = []
    unsuitable: list[Unsuitable] = []
    for family in family_queries.newest_first(session, row.project, spec.families):
        each = _judge(session, family, resolved.columns, keys, is_full=len(found) == MOST_FAMILIES)
        if isinstance(each, Choice):
            found.append(each)
        else:
            unsuitable.append(each)
    return found, unsuitable


def _judge(
    session: Session, family: Family, columns: dict[str, list[str]], keys: Mapping[str, int], *, is_full: bool
) -> Choice | Unsuitable:
    name, number = family.name, aliases.version_of(session, family.id, "champion")
    if number is None:
        return Unsuitable(
            name, None, "no_champion", "It has no champion: no job has contributed, or none was promoted."
        )
    version = warps.get(session, family, number)
    theirs = {each["key"] for each in version.keys}
    covered = sorted(theirs & keys.keys())
    if not covered:
        has, wants = ", ".join(sorted(theirs)[:4]), ", ".join(sorted(keys)[:4]) or "none"
        return Unsuitable(name, number, "no_axis", f"Its P has {has}; the model has {wants}.")
    if (difference := resolve.other_columns(family, columns)) is not None:
        return Unsuitable(name, number, "other_columns", difference)
    if is_full:
        most = f"Not more than {MOST_FAMILIES} P are compared at once: name this one in `families`."
        return Unsuitable(name, number, "not_measured", most)
    return Choice(name, number, covered, warps.content(session, version))
