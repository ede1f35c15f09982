"""Jobs as JSON, written straight from what the database has: most of a job's text is there already.

A job is what is asked for most often, and to read its JSON, check it and write it again costs more than all the rest.
What is written here is `api.schemas.jobs.Job`, field by field; a test reads it back as that.
"""

import json
from collections.abc import Mapping, Sequence
from json.encoder import encode_basestring as _quoted
from typing import Any

from pydantic import TypeAdapter
from pydantic_core import to_json

from api.schemas.common import rfc3339_of
from api.schemas.jobs import Failure, Job, PendingReason, StepVersion, WorkerGroup
from service.jobs import Look
from service.metrics import Plain

_WARPS = TypeAdapter(list[StepVersion])
_GROUPS = TypeAdapter(list[WorkerGroup])


def job(look: Look) -> str:
    """The JSON of one job."""
    row = look.job
    pending = PendingReason.model_validate(look.pending_reason).model_dump_json() if look.pending_reason else "null"
    return (
        f'{{"id":"{row.id}","object":"job","spec":{stored_json(row.spec)},"spec_version":{row.spec_version},'
        f'"state":"{row.state}","warp_version":{_number(row.warp_version)},'
        f'"start_version":{_number(row.start_version)},"created_at":{_time(row.created_at)},'
        f'"started_at":{_time(row.started_at)},"finished_at":{_time(row.finished_at)},'
        f'"transitions":[{",".join(map(_transition, look.transitions))}],'
        f'"attempts":[{",".join(map(_attempt, look.attempts))}],'
        f'"progress":{{"step":{row.progress_step},"of":{row.progress_of},"eta_s":{_number(row.eta_s)}}},'
        f'"pending_reason":{pending},"result":{stored_json(row.result)},"failure":{_failure(row.failure)}}}'
    )


def page(looks: Sequence[Look], next_cursor: str | None) -> str:
    """The JSON of a list of jobs (`api.schemas.common.Listing`)."""
    has_more = "false" if next_cursor is None else "true"
    shown = ",".join(map(job, looks))
    return f'{{"object":"list","data":[{shown}],"has_more":{has_more},"next_cursor":{_text(next_cursor)}}}'


def metrics(found: Mapping[str, Sequence[Plain]]) -> str:
    """The JSON of series of points (`api.schemas.records.Metrics`)."""
    series = (f"{_quoted(name)}:[{_points(points)}]" for name, points in found.items())
    return f'{{"object":"metrics","data":{{{",".join(series)}}}}}'


def _points(points: Sequence[Plain]) -> str:
    return ",".join([f'{{"step":{step},"value":{value!r},"at":"{rfc3339_of(at)}"}}' for _, step, value, at in points])


def model(look: Look) -> Job:
    """The same as a model, where something is done with it."""
    return Job.model_validate_json(job(look))


def _transition(row: Any) -> str:
    return (
        f'{{"source":{_text(row.source)},"target":"{row.target}","reason":{_text(row.reason)},'
        f'"message":{_text(row.message)},"at":{_time(row.at)}}}'
    )


def _attempt(row: Any) -> str:
    warps = _WARPS.dump_json(_WARPS.validate_json(row.warps)).decode()
    groups = _GROUPS.dump_json(_GROUPS.validate_json(row.groups)).decode()
    return (
        f'{{"number":{row.number},"submission_id":{_text(row.submission_id)},"start_step":{_number(row.start_step)},'
        f'"warps":{warps},"groups":{groups},"outcome":{_text(row.outcome)},"failure":{_failure(row.failure)},'
        f'"created_at":{_time(row.created_at)},"started_at":{_time(row.started_at)},'
        f'"finished_at":{_time(row.finished_at)}}}'
    )


def _failure(stored: str | None) -> str:
    if stored is None or stored == "null":
        return "null"
    return Failure.model_validate_json(stored).model_dump_json()


def stored_json(stored: str | None) -> str:
    """Stored JSON as it is, but for what Python writes and JSON has no word for."""
    if stored is None:
        return "null"
    if "NaN" in stored or "Infinity" in stored:
        return to_json(json.loads(stored), inf_nan_mode="null").decode()
    return stored


def _text(value: str | None) -> str:
    return "null" if value is None else _quoted(value)


def _number(value: float | None) -> str:
    return "null" if value is None else to_json(value, inf_nan_mode="null").decode()


def _time(milliseconds: int | None) -> str:
    return "null" if milliseconds is None else f'"{rfc3339_of(milliseconds)}"'
