"""Matches: claimed by one, tried so often, finished once; which families are measured, and why others are not."""

from typing import Any

import numpy as np
import pytest
from sqlalchemy.orm import Session

from service import aliases, blobs, clock, families, matches, warps
from service.db import match_queries
from service.db.models import Family, FamilyMatch, WarpVersion
from service.errors import BadReference, InvalidRequest, NotFound, QuotaExceeded
from service.matches import MAX_TRIES, Choice, MatchSpec, Unsuitable
from service.resolve import Limits
from tests.service.kit import NOW, PROJECT, TRANSFORMER, Bench, later, table, text
from warpadam import warpfile


def ask(bench: Bench, project: str = PROJECT, **fields: Any) -> FamilyMatch:
    bench.ready = bench.ready or bench.dataset()
    dataset = fields.pop("dataset", bench.ready)
    given = {"task": "regression", "model": {"arch": "mlp", "hidden": [8]}, **fields}
    spec = MatchSpec.model_validate({"dataset": {"id": dataset.id}, **given})
    return bench.write(lambda session: matches.submit(session, project, spec, dataset, Limits(), NOW))


def taken(bench: Bench, seconds: float = 0) -> FamilyMatch | None:
    return bench.write(lambda session: matches.claim(session, later(seconds)))


def again(bench: Bench, row: FamilyMatch) -> FamilyMatch:
    return bench.read(lambda session: session.get_one(FamilyMatch, row.id))


def family_with(bench: Bench, name: str, *keys: str, project: str = PROJECT, **changes: Any) -> Family:
    """A family with a champion that has these axes."""

    def make(session: Session) -> Family:
        family = families.ensure(session, project, name)
        for field, value in changes.items():
            setattr(family, field, value)
        if keys:
            matrices = {key: np.eye(int(key.rpartition(":")[2]), dtype=np.float32) for key in keys}
            warps.upload(session, family, warpfile.encode(matrices, warpfile.WarpMetadata()), NOW)
        return family

    return bench.write(make)


def chosen(bench: Bench, row: FamilyMatch) -> tuple[list[Choice], list[Unsuitable]]:
    return bench.read(lambda session: matches.choices(session, row, {"input:4": 4, "output:1": 1}))


def test_one_claims_it_and_finishes_it_once(bench: Bench) -> None:
    row = ask(bench)
    claimed = taken(bench)
    assert claimed is not None
    assert (claimed.id, claimed.attempts, taken(bench)) == (row.id, 1, None)
    bench.write(lambda session: matches.succeed(session, row.id, 1, {"axes": 1}, later(1)))
    bench.write(lambda session: matches.fail(session, row.id, 1, "late", "too late", later(2)))
    found = again(bench, row)
    assert (found.state, found.result, found.failure, found.finished_at) == ("succeeded", {"axes": 1}, None, later(1))
    assert taken(bench, 1000) is None


def test_who_lost_his_lease_writes_nothing(bench: Bench) -> None:
    row = ask(bench)
    taken(bench)
    assert bench.write(lambda session: matches.renew(session, row.id, 1, later(20)))
    assert taken(bench, 31) is None
    second = taken(bench, 51)
    assert second is not None
    assert second.attempts == 2
    assert not bench.write(lambda session: matches.renew(session, row.id, 1, later(52)))
    bench.write(lambda session: matches.succeed(session, row.id, 1, {}, later(52)))
    bench.write(lambda session: matches.try_again(session, row.id, 1, "died.", later(52)))
    assert again(bench, row).state == "running"


@pytest.mark.parametrize("dies", ["process", "dispatcher"])
def test_it_is_tried_so_often_and_then_fails_with_a_reason(bench: Bench, dies: str) -> None:
    row = ask(bench)
    for number in range(1, MAX_TRIES + 1):
        at = 100 * number
        claimed = taken(bench, at)
        assert claimed is not None
        if dies == "process":
            bench.write(lambda s, n=number, at=at: matches.try_again(s, row.id, n, "It died.", later(at)))  # type: ignore[misc]
    assert taken(bench, 1000) is None
    found = again(bench, row)
    assert found.state == "failed"
    assert found.failure is not None
    assert found.failure["code"] == "worker_lost"
    assert f"{MAX_TRIES} times" in found.failure["message"]


def test_a_stopped_dispatcher_gives_it_back_for_nothing(bench: Bench) -> None:
    row = ask(bench)
    for _ in range(MAX_TRIES + 2):
        assert taken(bench) is not None
        bench.write(lambda session: matches.release(session, row.id, 1))
    assert (again(bench, row).state, again(bench, row).attempts) == ("queued", 0)


def test_projects_take_turns(bench: Bench) -> None:
    first, second = ask(bench), ask(bench)
    other = ask(bench)
    bench.write(lambda session: setattr(session.get_one(FamilyMatch, other.id), "project", "omega"))
    order = [claimed.id for claimed in (taken(bench), taken(bench), taken(bench)) if claimed]
    assert order[0] == min(first.id, second.id)
    assert order.index(other.id) < 2


def test_a_project_has_so_many_at_once(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(matches, "MOST_WAITING", 2)
    ask(bench), ask(bench)
    with pytest.raises(QuotaExceeded, match="2 matches") as refused:
        ask(bench)
    assert refused.value.retry_after_s > 0
    row = taken(bench)
    assert row is not None
    bench.write(lambda session: matches.fail(session, row.id, 1, "timeout", "Too long.", NOW))
    ask(bench)


def test_anothers_is_not_there(bench: Bench) -> None:
    row = ask(bench)
    assert bench.read(lambda session: matches.get(session, PROJECT, row.id)).id == row.id
    with pytest.raises(NotFound):
        bench.read(lambda session: matches.get(session, "omega", row.id))


def test_old_ones_are_forgotten(bench: Bench) -> None:
    row, waiting = ask(bench), ask(bench)
    bench.write(lambda session: matches.claim(session, NOW))
    bench.write(lambda session: matches.succeed(session, row.id, 1, {}, NOW))
    bench.write(lambda session: match_queries.forget(session, later(1)))
    with pytest.raises(NotFound):
        bench.read(lambda session: matches.get(session, PROJECT, row.id))
    bench.read(lambda session: matches.get(session, PROJECT, waiting.id))


@pytest.mark.parametrize(
    ("fields", "param"),
    [
        ({"batch_size": 81}, "batch_size"),
        ({"task": "classification"}, "task"),
        ({"model": TRANSFORMER}, "model.arch"),
    ],
)
def test_what_cannot_be_trained_is_refused_at_once(bench: Bench, fields: dict[str, Any], param: str) -> None:
    with pytest.raises(InvalidRequest) as refused:
        ask(bench, **fields)
    assert refused.value.param == param


def test_references_are_looked_up_at_once(bench: Bench) -> None:
    with pytest.raises(BadReference) as refused:
        ask(bench, families=["nobody"])
    assert (refused.value.error_code, refused.value.param) == ("family_not_found", "families")
    with pytest.raises(BadReference) as refused:
        ask(bench, init={"checkpoint": "job_0/best"})
    assert refused.value.error_code == "checkpoint_not_found"
    with pytest.raises(ValueError, match="one start"):
        ask(bench, init="family")


def test_a_small_dataset_has_small_batches(bench: Bench) -> None:
    row = ask(bench, dataset=bench.dataset(table(rows=10)))
    assert row.resolved["batch_size"] == 10
    found = ask(bench, dataset=bench.dataset(text(30)), task="language_modeling", model=TRANSFORMER)
    assert found.resolved["batch_size"] == 30 - TRANSFORMER["context"]  # type: ignore[operator]


def test_families_that_fit_and_why_the_others_do_not(bench: Bench) -> None:
    row = ask(bench, dataset=bench.dataset(table(columns=["a", "b", "c", "d"])))
    family_with(bench, "fits", "input:4", "output:7", columns={"input:4": ["a", "b", "c", "d"]})
    family_with(bench, "unnamed", "input:4")
    family_with(bench, "swapped", "input:4", columns={"input:4": ["b", "a", "c", "d"]})
    family_with(bench, "others", "input:5")
    family_with(bench, "empty")
    family_with(bench, "foreign", "input:4", project="omega")
    found, unsuitable = chosen(bench, row)
    assert [(each.family, each.version, each.covered) for each in found] == [
        ("unnamed", 1, ["input:4"]),
        ("fits", 1, ["input:4"]),
    ]
    assert {each.family: each.code for each in unsuitable} == {
        "swapped": "other_columns",
        "others": "no_axis",
        "empty": "no_champion",
    }
    assert "'b', this dataset 'a'" in next(each.reason for each in unsuitable if each.family == "swapped")


def test_only_named_families_and_not_too_many(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("a", "b", "c"):
        family_with(bench, name, "input:4")
    found, unsuitable = chosen(bench, ask(bench, families=["a", "c"]))
    assert ([each.family for each in found], unsuitable) == (["c", "a"], [])
    monkeypatch.setattr(matches, "MOST_FAMILIES", 1)
    found, unsuitable = chosen(bench, ask(bench))
    assert [each.family for each in found] == ["c"]
    assert {each.code for each in unsuitable} == {"not_measured"}


def test_the_champion_is_what_is_measured(bench: Bench) -> None:
    family = family_with(bench, "f", "input:4")

    def second(session: Session) -> WarpVersion:
        matrices = {"input:5": np.eye(5, dtype=np.float32)}
        return warps.upload(session, family, warpfile.encode(matrices, warpfile.WarpMetadata()), clock.now())

    bench.write(second)
    bench.write(lambda session: aliases.set_(session, family, "champion", 1, now=NOW))
    (choice,) = chosen(bench, ask(bench))[0]
    assert choice.version == 1
    stored = bench.read(lambda session: session.get_one(WarpVersion, (family.id, 1)).sha256)
    assert choice.warp == bench.read(lambda session: blobs.read(session, stored))
