"""Jobs with code of their own: who may, which package, and what is pinned of it."""

from dataclasses import replace
from typing import Any

import pytest

from service import codes, datasets, jobs, sizing, starts
from service.data.packages import Module, PackageInfo
from service.db.models import Checkpoint, Dataset
from service.errors import BadReference, DatasetNotReady, Forbidden, InUse, InvalidRequest, ServiceError
from service.ids import new_id
from service.resolve import Resolved
from service.spec import JobSpec
from tests.service.kit import NOW, PROJECT, Bench, table, text
from warpadam import shapes

SHA256 = "c" * 64
BASE = new_id("ckpt")
MODULES = [Module(name="net", names=["build"]), Module(name="wild", names=[], open=True)]


@pytest.fixture
def coding(bench: Bench) -> Bench:
    return replace(bench, limits=jobs.Limits(code_refused=None))


def package(bench: Bench, **fields: Any) -> str:
    """A registered package of code; its id."""
    info = PackageInfo(modules=MODULES, files=2, size_bytes=100).model_dump(mode="json")
    row = bench.dataset()
    given = {"options": {"format": "package"}, "info": info, "sha256": SHA256, **fields}

    def work(session: Any) -> None:
        found = session.get_one(Dataset, row.id)
        for name, value in given.items():
            setattr(found, name, value)

    bench.write(work)
    return row.id


def model(package_id: str, entrypoint: str = "net:build", **kwargs: Any) -> dict[str, Any]:
    return {"entrypoint": entrypoint, "package": package_id, "kwargs": kwargs}


def resolved(row: Any) -> Resolved:
    return Resolved.model_validate(row.resolved)


def test_its_package_is_pinned_and_sizes_come_from_the_data(coding: Bench) -> None:
    id_ = package(coding)
    found = resolved(coding.submit(coding.dataset(table(6, 3)), model=model(id_, hidden=[4])))
    assert found.package == codes.Package(dataset_id=id_, sha256=SHA256)
    assert found.model == {
        "entrypoint": "net:build", "package": SHA256, "kwargs": {"hidden": [4]}, "input": [6], "output": 3
    }  # fmt: skip
    assert shapes.is_code(found.model)
    words = resolved(
        coding.submit(coding.dataset(text()), task="language_modeling", model=model(id_, context=64), family="words")
    )
    assert (words.model["context"], words.model["vocabulary"]) == (64, 256)


def test_its_anchor_covers_entrypoint_package_and_kwargs(coding: Bench) -> None:
    one, other = package(coding), package(coding)
    changed = package(coding, sha256="d" * 64)

    def anchor(*given: Any, **kwargs: Any) -> str | None:
        return resolved(coding.submit(model=model(*given, **kwargs), init="family")).anchor

    first = anchor(one)
    assert first is not None
    assert anchor(other) == first  # the same bytes under another id
    assert len({first, anchor(changed), anchor(one, "wild:build"), anchor(one, width=3)}) == 4
    assert resolved(coding.submit(model=model(one))).anchor is None


def test_who_may_not_is_told_by_whom(bench: Bench) -> None:
    id_ = package(bench)
    for refusal, says in (("server", "WARPADAM_ALLOW_CODE"), ("key", "scope code:run")):
        refused = replace(bench, limits=jobs.Limits(code_refused=refusal))  # type: ignore[arg-type]
        with pytest.raises(Forbidden, match=says) as caught:
            refused.submit(model=model(id_))
        assert caught.value.error_code == "code_disabled"


@pytest.mark.parametrize(
    ("fields", "entrypoint", "kind", "code", "says"),
    [
        ({"project": "another"}, "net:build", BadReference, "dataset_not_found", "There is no dataset"),
        ({"deleted_at": NOW}, "net:build", BadReference, "dataset_not_found", "There is no dataset"),
        ({"state": "inspecting"}, "net:build", DatasetNotReady, "dataset_not_ready", "wait until it is ready"),
        ({"state": "invalid", "error": "bad"}, "net:build", DatasetNotReady, "dataset_not_ready", "is invalid: bad"),
        ({"options": {"format": "npz"}}, "net:build", InvalidRequest, "invalid_request", "no package of code"),
        ({}, "nets:build", InvalidRequest, "invalid_request", "no module nets: it has net, wild"),
        ({}, "net:built", InvalidRequest, "invalid_request", "defines no built: it defines build"),
    ],
)
def test_a_package_that_does_not_do_is_told_at_once(
    coding: Bench, fields: dict[str, Any], entrypoint: str, kind: type[ServiceError], code: str, says: str
) -> None:
    with pytest.raises(kind, match=says) as caught:
        coding.submit(model=model(package(coding, **fields), entrypoint))
    assert caught.value.error_code == code
    coding.submit(model=model(package(coding), "wild:whatever"))


def test_a_package_is_no_data(coding: Bench) -> None:
    row = coding.read(lambda session: session.get_one(Dataset, package(coding)))
    with pytest.raises(InvalidRequest, match=r"goes into model\.package") as caught:
        coding.submit(row)
    assert caught.value.param == "dataset"


def test_a_package_is_kept_while_a_job_may_need_it(coding: Bench) -> None:
    id_ = package(coding)
    job = coding.submit(model=model(id_))
    with pytest.raises(InUse, match=job.id):
        coding.write(lambda session: datasets.delete(session, PROJECT, id_, NOW))
    coding.ask("cancel", job.id)
    coding.write(lambda session: datasets.delete(session, PROJECT, id_, NOW))


@pytest.mark.parametrize(
    ("kwargs", "says"),
    [
        ({"outputs": 3}, "outputs comes from the dataset"),
        ({"x": float("inf")}, "plain JSON"),
        ({"x": object()}, "plain JSON"),
        ({"x": "y" * 70_000}, "at most 65536"),
        ({"not a name": 1}, "pattern"),
    ],
)
def test_kwargs_are_plain_and_bounded(bench: Bench, kwargs: dict[str, Any], says: str) -> None:
    with pytest.raises(ValueError, match=says):
        bench.spec(bench.dataset(), model=model("ds_x", **kwargs))


@pytest.mark.parametrize("context", [None, 1, "64", 2.5, True])
def test_text_needs_the_length_of_a_window(coding: Bench, context: Any) -> None:
    kwargs = {} if context is None else {"context": context}
    with pytest.raises(InvalidRequest, match=r"model\.kwargs\.context") as caught:
        coding.submit(coding.dataset(text()), task="language_modeling", model=model(package(coding), **kwargs))
    assert caught.value.param == "model.kwargs.context"


def test_an_epoch_of_text_passes_over_its_windows() -> None:
    body = {"family": "f", "task": "language_modeling", "model": model("ds_x", context=50), "dataset": {"id": "ds_y"}}
    spec = JobSpec.model_validate({**body, "training": {"epochs": 2, "batch_size": 10}})
    assert sizing.steps_of(spec, text(5001)) == 20


def test_its_columns_bind_the_family_like_any_others(coding: Bench) -> None:
    id_ = package(coding)
    coding.submit(coding.dataset(table(2, columns=["a", "b"])), model=model(id_))
    with pytest.raises(InvalidRequest, match="it has 'a', this dataset 'b'"):
        coding.submit(coding.dataset(table(2, columns=["b", "a"])), model=model(id_))


def test_a_start_does_not_grow_from_code(coding: Bench) -> None:
    """The meta-learner would have to run it."""
    id_ = package(coding)
    fence = coding.running(model=model(id_), init="family")
    job = coding.job(fence.job_id)
    assert resolved(job).start_version == 0
    assert coding.write(lambda session: starts.offer(session, job, NOW)) is None


def test_a_checkpoint_of_the_same_code_is_a_base_and_another_is_not(coding: Bench) -> None:
    id_, job = package(coding), coding.submit()
    trained = resolved(coding.submit(model=model(id_), init="family")).model
    row = Checkpoint(id=BASE, project=PROJECT, job_id=job.id, step=1, attempt=1, model=trained, created_at=NOW)
    row.path, row.sha256, row.size = "p", "e" * 64, 1
    coding.write(lambda session: session.add(row))
    for init in ({"checkpoint": BASE}, {"family": BASE}):
        found = resolved(coding.submit(model=model(id_), init=init))
        assert found.base is not None
        assert found.anchor == shapes.anchor(trained, "e" * 64)
    with pytest.raises(InvalidRequest, match="another model"):
        coding.submit(model=model(id_, width=9), init={"checkpoint": BASE})
    assert resolved(coding.submit(model=model(id_, width=9), init={"family": BASE})).base is None
