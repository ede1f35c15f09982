"""What a description means at submit, and each clear error."""

from typing import Any

import pytest
from sqlalchemy import func, select

from service import aliases, cluster, jobs
from service.data.info import DatasetInfo
from service.db.models import Blob, Checkpoint, Contribution, Family, Job, WarpVersion
from service.errors import BadReference, DatasetNotReady, Forbidden, InvalidRequest, ServiceError
from service.resolve import Resolved
from tests.service.kit import NOW, PROJECT, TRANSFORMER, Bench, classes, images, table, text
from warpadam import shapes

LM = {"task": "language_modeling", "model": TRANSFORMER}
CLASSIFY = {"task": "classification"}
MLP = {"arch": "mlp", "hidden": [8], "activation": "relu"}


def resolved(job: Job) -> Resolved:
    return Resolved.model_validate(job.resolved)


def publish(bench: Bench, *keys: str, family: str = "f") -> int:
    """A version of the family's P with these axes, its latest and champion."""

    def work(session: Any) -> int:
        row = session.scalars(select(Family).where(Family.name == family)).one()
        version = (session.scalar(select(func.max(WarpVersion.version))) or 0) + 1
        sha256 = f"{version:064d}"
        session.add(Blob(sha256=sha256, size=1))
        session.flush()
        named = [{"key": key, "size": shapes.key_size(key)} for key in keys]
        session.add(
            WarpVersion(
                family_id=row.id, version=version, epoch=0, rule="r", sha256=sha256, size=1, keys=named, created_at=NOW
            )
        )
        session.flush()
        for alias in ("latest", "champion"):
            aliases.move(session, row.id, alias, version, reason="test", now=NOW)
        return version

    return bench.write(work)


def checkpoint(bench: Bench, model: dict[str, object] | None) -> str:
    row = Checkpoint(id="ckpt_" + "0" * 26, project=PROJECT, path="p", sha256="c" * 64, size=1, model=model)
    row.created_at = NOW
    bench.write(lambda session: session.add(row))
    return "ckpt_" + "0" * 26


@pytest.mark.parametrize(
    ("info", "fields", "model"),
    [
        (table(4, 2), {}, {**MLP, "input": 4, "output": 2}),
        (
            classes(["a", "b", "c"]),
            CLASSIFY,
            {"arch": "mlp", "hidden": [8], "activation": "relu", "input": 4, "output": 3},
        ),
        (images(["a", "b"]), CLASSIFY, {"arch": "mlp", "hidden": [8], "activation": "relu", "input": 192, "output": 2}),
        (
            images(["a", "b"]),
            {**CLASSIFY, "model": {"arch": "convnet", "channels": [4]}},
            {"arch": "convnet", "channels": [4], "kernel": 3, "input": [8, 8, 3], "output": 2},
        ),
        (text(), LM, {**TRANSFORMER, "vocabulary": 256}),
    ],
)
def test_sizes_come_from_the_dataset(bench: Bench, info: DatasetInfo, fields: dict[str, Any], model: Any) -> None:
    job = bench.submit(bench.dataset(info), **fields)
    assert resolved(job).model == model
    assert shapes.parameters(resolved(job).model)


def test_what_is_stored(bench: Bench) -> None:
    job = bench.submit(training={"steps": 70}, metadata={"a": "b"}, priority=3)
    stored = bench.job(job.id)
    assert (stored.state, stored.progress_of, stored.priority, stored.warp_version) == ("queued", 70, 3, None)
    assert stored.spec["training"]["seed"] == resolved(stored).seed
    assert resolved(stored).dataset_id == stored.dataset_id
    assert [event.type for event in bench.events(job.id)] == ["job.state"]


def test_a_given_seed_stays(bench: Bench) -> None:
    assert resolved(bench.submit(training={"seed": 0})).seed == 0


@pytest.mark.parametrize(
    ("info", "fields", "steps"),
    [
        (table(rows=80), {"training": {"epochs": 3, "batch_size": 32}}, 8),  # 240 rows in batches of 32
        (table(rows=80), {}, 300),
        (text(161), {**LM, "training": {"epochs": 2, "batch_size": 3}}, 7),  # 10 windows of 16 an epoch
    ],
)
def test_steps(bench: Bench, info: DatasetInfo, fields: dict[str, Any], steps: int) -> None:
    assert resolved(bench.submit(bench.dataset(info), **fields)).steps == steps


def test_epochs_may_not_come_to_more_steps_than_a_job_may_have(bench: Bench) -> None:
    with pytest.raises(InvalidRequest, match="160000000 steps") as caught:
        bench.submit(bench.dataset(table(rows=160)), training={"epochs": 1_000_000, "batch_size": 1})
    assert caught.value.param == "training.epochs"


def test_random_init_aligns_nothing(bench: Bench) -> None:
    found = resolved(bench.submit())
    assert (found.anchor, found.init_identity, found.init_seed, found.start_version) == (None, None, None, None)


def test_family_init_is_one_seed_for_family_and_model(bench: Bench) -> None:
    first, second = bench.submit(init="family"), bench.submit(init="family")
    other = bench.submit(init="family", family="g")
    assert resolved(first).anchor == resolved(second).anchor == shapes.anchor(resolved(first).model, "family")
    assert resolved(first).init_seed == resolved(second).init_seed != resolved(other).init_seed
    assert resolved(first).start_version == 0
    assert bench.job(first.id).spec["init_seed"] == resolved(first).init_seed


def test_checkpoint_init_is_anchored_by_its_content(bench: Bench) -> None:
    model = resolved(bench.submit()).model
    found = resolved(bench.submit(init={"checkpoint": checkpoint(bench, model)}))
    assert found.base is not None
    assert (found.base.sha256, found.base.path, found.init_identity) == ("c" * 64, "p", "c" * 64)
    assert found.anchor == shapes.anchor(model, "c" * 64)
    assert found.start_version is None


def test_a_start_grown_from_a_base_has_the_bases_anchor(bench: Bench) -> None:
    reference = checkpoint(bench, None)
    grown, base = bench.submit(init={"family": reference}), bench.submit(init={"checkpoint": reference})
    assert resolved(grown).anchor == resolved(base).anchor
    assert resolved(grown).start_version == 0


def test_a_checkpoint_of_another_model_is_refused_by_the_field_that_differs(bench: Bench) -> None:
    model = {**resolved(bench.submit()).model, "hidden": [9]}
    with pytest.raises(InvalidRequest, match=r"its hidden is \[9\], this job's is \[8\]") as caught:
        bench.submit(init={"checkpoint": checkpoint(bench, model)})
    assert caught.value.param == "init.checkpoint"


def test_the_champion_is_resolved_to_its_number(bench: Bench) -> None:
    assert bench.submit().warp_version is None
    publish(bench, "input:4")
    assert bench.submit().warp_version == 1
    publish(bench, "input:4")
    assert [bench.submit(optimizer={"warp": ref}).warp_version for ref in ("latest", 1, 2, "none")] == [2, 1, 2, None]
    assert bench.submit(optimizer={"name": "adamw"}).warp_version is None


def test_a_family_without_p_has_none_under_any_alias(bench: Bench) -> None:
    assert bench.submit(optimizer={"warp": "mine"}).warp_version is None


@pytest.mark.parametrize("ref", [7, "mine"])
def test_a_missing_p_is_a_bad_reference(bench: Bench, ref: Any) -> None:
    bench.submit()
    publish(bench, "input:4")
    with pytest.raises(BadReference) as caught:
        bench.submit(optimizer={"warp": ref})
    assert (caught.value.error_code, caught.value.param) == ("warp_not_found", "optimizer.warp")


def test_a_p_for_other_axes(bench: Bench) -> None:
    bench.submit()
    publish(bench, "input:9")
    with pytest.raises(InvalidRequest, match="input:9") as caught:
        bench.submit(optimizer={"warp": 1})
    assert caught.value.param == "optimizer.warp"
    found = bench.submission()
    assert [warning.code for warning in found.warnings] == ["warp_not_covering"]
    assert found.job.warp_version is None


def test_a_basis_from_the_jobs_own_data_is_no_version(bench: Bench) -> None:
    bench.submit()
    publish(bench, "input:4")
    found = bench.submission(optimizer={"warp": "data"})
    assert (found.job.warp_version, resolved(found.job).warp_version, found.warnings) == (None, None, [])
    assert found.job.spec["optimizer"]["warp"] == "data"
    plain = bench.submission(optimizer={"warp": "data", "name": "adamw"}, training={"steps": 2})
    assert (plain.job.warp_version, plain.warnings) == (None, [])


def test_data_that_says_nothing_of_the_model_is_warned_of(bench: Bench) -> None:
    found = bench.submission(bench.dataset(text()), **LM, optimizer={"warp": "data"})
    assert [(each.code, each.param) for each in found.warnings] == [("warp_not_covering", "optimizer.warp")]
    assert found.job.warp_version is None


def test_a_family_remembers_its_columns(bench: Bench) -> None:
    bench.submit(bench.dataset(table(2, 2, columns=["a", "b"], target_columns=["y", "z"])))
    bench.submit(bench.dataset(table(2, 1, columns=["a", "b"], target_columns=["other"])))
    bench.submit(bench.dataset(table(3, columns=["x", "y", "z"])))
    for names in (["b", "a"], ["a", "c"]):
        with pytest.raises(InvalidRequest, match="input:2 by other columns") as caught:
            bench.submit(bench.dataset(table(2, columns=names)))
        assert caught.value.param == "dataset"
    bench.submit(bench.dataset(table(2, columns=["b", "a"])), family="g")
    rows = bench.read(lambda session: session.scalars(select(Family).where(Family.name == "f")).one())
    assert rows.columns == {"input:2": ["a", "b"], "output:2": ["y", "z"], "input:3": ["x", "y", "z"]}


def test_what_is_too_large_is_accepted_and_says_so(bench: Bench) -> None:
    node = {"id": "n1", "alive": True, "cpus": 4, "gpus": 2}
    bench.write(lambda session: cluster.write_snapshot(session, "d", {"nodes": [node], "cpus": 4, "gpus": 2}, NOW))
    found = bench.submission(resources={"gpus_per_worker": 4})
    assert found.job.pending_reason is not None
    assert found.job.pending_reason["code"] == "too_large"
    assert found.job.pending_reason["message"] == "needs 4 GPUs a worker, the largest node has 2"
    assert [(each.code, each.param) for each in found.warnings] == [("too_large", "resources")]
    assert bench.submit(resources={"gpus_per_worker": 2}).pending_reason is None


ENTRYPOINT = {"entrypoint": "a.b:c", "package": "ds_x"}
HUGE = {"arch": "transformer", "layers": 1, "width": 8, "heads": 2, "context": 20_000}


@pytest.mark.parametrize(
    ("info", "fields", "kind", "code", "param"),
    [
        (table(), CLASSIFY, InvalidRequest, "invalid_request", "task"),
        (text(), {}, InvalidRequest, "invalid_request", "task"),
        (table(), LM, InvalidRequest, "invalid_request", "task"),
        (text(), {"task": "language_modeling"}, InvalidRequest, "invalid_request", "model.arch"),
        (table(), {"model": TRANSFORMER}, InvalidRequest, "invalid_request", "model.arch"),
        (table(), {"model": {"arch": "convnet", "channels": [4]}}, InvalidRequest, "invalid_request", "model.arch"),
        (table(), {"model": ENTRYPOINT}, Forbidden, "code_disabled", "model.entrypoint"),
        (text(), {**LM, "model": ENTRYPOINT}, Forbidden, "code_disabled", "model.entrypoint"),
        (table(), {"training": {"batch_size": 81}}, InvalidRequest, "invalid_request", "training.batch_size"),
        (
            table(),
            {"training": {"batch_size": 2}, "resources": {"workers": 3}},
            InvalidRequest,
            "invalid_request",
            "training.batch_size",
        ),
        (
            table(),
            {"training": {"steps": 5, "warmup_steps": 6}},
            InvalidRequest,
            "invalid_request",
            "training.warmup_steps",
        ),
        (text(), {**LM, "model": HUGE}, InvalidRequest, "invalid_request", "model.context"),
        (
            table(),
            {"training": {"batch_size": 2}, "resources": {"workers": {"min": 1, "max": 3}}},
            InvalidRequest,
            "invalid_request",
            "training.batch_size",
        ),
        (table(), {"optimizer": {"warp": 1}}, BadReference, "warp_not_found", "optimizer.warp"),
        (table(), {"init": {"checkpoint": "job_x/best"}}, BadReference, "checkpoint_not_found", "init.checkpoint"),
        (table(), {"init": {"family": "nonsense"}}, BadReference, "checkpoint_not_found", "init.family"),
    ],
)
def test_each_error_names_its_field_and_leaves_nothing(
    bench: Bench, info: DatasetInfo, fields: dict[str, Any], kind: type[ServiceError], code: str, param: str
) -> None:
    dataset = bench.dataset(info)
    for attempt in (bench.submission, lambda *given, **more: dry_run(bench, *given, **more)):
        with pytest.raises(kind) as caught:
            attempt(dataset, **fields)
        assert (caught.value.error_code, caught.value.param) == (code, param)
    assert bench.read(lambda session: session.scalar(select(func.count()).select_from(Job))) == 0
    assert bench.read(lambda session: session.scalar(select(func.count()).select_from(Family))) == 0


def test_a_family_learns_by_the_rule_of_its_first_contribution(bench: Bench) -> None:
    dataset = bench.dataset()
    first = bench.submit(dataset, optimizer={"learn": "hypergradient"})
    row = Contribution(
        family_id=first.family_id, job_id=first.id, attempt=1, sequence=0, start=0, end=9, created_at=NOW
    )
    row.rule, row.sha256, row.size = "hypergradient", "a" * 64, 1
    bench.write(lambda session: session.add(row))
    for learn in ("hypergradient", "none"):
        bench.submit(dataset, optimizer={"learn": learn})
    with pytest.raises(InvalidRequest, match="learns by hypergradient: use learn: hypergradient or none") as caught:
        bench.submit(dataset, optimizer={"learn": "covariance"})
    assert caught.value.param == "optimizer.learn"
    bench.submit(dataset, family="another", optimizer={"learn": "covariance"})


@pytest.mark.parametrize("state", ["inspecting", "invalid"])
def test_a_dataset_that_is_not_ready(bench: Bench, state: str) -> None:
    with pytest.raises(DatasetNotReady):
        bench.submit(bench.dataset(state=state))


def test_a_dataset_that_was_deleted_meanwhile(bench: Bench) -> None:
    dataset = bench.dataset()
    bench.write(lambda session: setattr(session.merge(dataset), "deleted_at", NOW))
    with pytest.raises(BadReference) as caught:
        bench.submit(dataset)
    assert caught.value.error_code == "dataset_not_found"


def dry_run(bench: Bench, dataset: Any, **fields: Any) -> jobs.Submission:
    spec = bench.spec(dataset, **fields)
    return bench.write(lambda session: jobs.dry_run(session, PROJECT, spec, dataset, jobs.Limits()))


def test_a_dry_run_says_the_same_and_leaves_nothing(bench: Bench) -> None:
    dataset = bench.dataset(table(2, columns=["a", "b"]))
    found = dry_run(bench, dataset, training={"seed": 1, "steps": 9})
    made = bench.submission(dataset, training={"seed": 1, "steps": 9}, family="g")
    assert resolved(found.job) == resolved(made.job)
    assert {**found.job.spec, "family": "g"} == made.job.spec
    names = bench.read(lambda session: list(session.scalars(select(Family.name))))
    assert names == ["g"]
    assert bench.listed()[0] == [made.job.id]
