"""`python -m workers.matching MATCH`: measures one match, and prints the answer as JSON: `result`, or `failure`.

It writes nothing: whoever started it does (`matcher`). It ends when its stdin does, so it outlives nobody, and after
`match_timeout_s` whatever it is doing.
"""

import json
import os
import sys
from typing import Any

from sqlalchemy.orm import Session

from service import datasets, matches
from service.data import DataError
from service.db.models import Dataset, FamilyMatch
from service.settings import Settings
from warpadam import shapes
from workers.failures import BadInputError, classify
from workers.loading import Memory
from workers.matching import told
from workers.matching.measure import Candidate
from workers.matching.placing import measure_somewhere
from workers.matching.tether import tie
from workers.plan import Plan
from workers.tasks.data import Split


def answer(memory: Memory, match_id: str) -> dict[str, Any]:
    """`{"result"}`, or `{"failure": {"code", "message"}}` where another try would end in the same way.

    Raises what another try may be spared.
    """
    try:
        return {"result": _measured(memory, match_id)}
    except Exception as error:
        cause = classify(error)
        if cause.retryable:
            raise
        return {"failure": {"code": cause.code, "message": cause.message}}


def _measured(memory: Memory, match_id: str) -> dict[str, Any]:
    with memory.database.read() as session:
        row = session.get_one(FamilyMatch, match_id)
        resolved = matches.Resolved.model_validate(row.resolved)
        keys = shapes.sizes_by_key(shapes.axis_keys(resolved.model, resolved.anchor, memory.settings.max_axis))
        choices, unsuitable = matches.choices(session, row, keys)
        dataset = _dataset(session, row)
    spec = matches.MatchSpec.model_validate(row.request, extra="ignore")
    plan = _plan(memory, spec, resolved, _split(memory, dataset, spec))
    candidates = [Candidate(each.family, each.version, each.warp) for each in choices]
    measured = measure_somewhere(memory.settings, plan, candidates, spec.limit)
    return told.result(measured, {each.family: each for each in choices}, unsuitable)


def _dataset(session: Session, row: FamilyMatch) -> Dataset:
    dataset = session.get_one(Dataset, row.dataset_id)
    if dataset.deleted_at is not None:
        raise BadInputError(f"The dataset {dataset.id} was deleted before it was looked at.")
    return dataset


def _split(memory: Memory, dataset: Dataset, spec: matches.MatchSpec) -> Split:
    try:
        arrays = datasets.open_arrays(memory.storage, memory.settings, dataset, spec.task)
    except DataError as error:
        raise BadInputError(str(error)) from error
    return Split(arrays.x_train, arrays.y_train, arrays.x_val, arrays.y_val)


def _plan(memory: Memory, spec: matches.MatchSpec, resolved: matches.Resolved, split: Split) -> Plan:
    return Plan(
        job="match",
        attempt=0,
        token=0,
        family_id=0,
        spec=spec.job(resolved.batch_size),
        model=resolved.model,
        anchor=resolved.anchor,
        steps=1,
        seed=spec.seed,
        init_seed=spec.seed,
        split=split,
        base=_base(memory, resolved),
        max_axis=memory.settings.max_axis,
        max_contribution_bytes=memory.settings.max_contribution_bytes,
    )


def _base(memory: Memory, resolved: matches.Resolved) -> bytes | None:
    if resolved.base is None:
        return None
    try:
        return memory.storage.get(resolved.base.path)
    except FileNotFoundError as error:
        raise BadInputError("The weights of init.checkpoint are not there any more: name others.") from error


def main() -> None:
    settings = Settings()
    tie(settings.match_timeout_s)
    sys.stdout.write(json.dumps(answer(Memory.of(settings), sys.argv[1])))
    sys.stdout.flush()
    os._exit(0)


if __name__ == "__main__":
    main()
