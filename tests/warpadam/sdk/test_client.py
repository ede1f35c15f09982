"""`Client` as its users write it, against the real API."""

import hashlib
from collections.abc import Iterator
from pathlib import Path

import pytest

from service import clock, collecting
from service.attempts import Failure
from tests.api.attempt import Attempt
from tests.api.made import npz, warp_file
from tests.matches import finish
from tests.warpadam.sdk.served import Served
from warpadam import Client, Warp
from warpadam.sdk import errors
from warpadam.sdk.job import Job

DIGITS = {
    "family": "digits",
    "dataset": {"builtin": "digits"},
    "task": "classification",
    "model": {"arch": "mlp", "hidden": [8]},
    "training": {"steps": 10},
}


@pytest.fixture
def client(served: Served) -> Iterator[Client]:
    with Client(served.url) as client:
        yield client


def finished(served: Served, client: Client) -> Job:
    job = client.jobs.create(DIGITS, name="first")
    attempt = Attempt.begin(served.database)
    attempt.metric("val_loss", [2.0, 1.0])
    attempt.tell("half of it")
    log = served.folder / "logs" / f"{job.id}-1.log"
    log.parent.mkdir()
    log.write_text("first line\nsecond line\n")
    final = {"val_loss": 1.0}
    attempt.finish(result={"steps": 10, "seconds": 1.5, "final": final, "best": {**final, "step": 10}})
    return job


def test_a_job_by_keywords_is_waited_for(served: Served, client: Client) -> None:
    job = finished(served, client).wait(progress=True)
    assert job.state == "succeeded"
    assert job.result is not None
    assert job.result.final["val_loss"] == 1.0
    assert [point.value for point in job.metrics("val_loss")["val_loss"]] == [2.0, 1.0]
    with pytest.raises(errors.Conflict, match="succeeded"):
        job.cancel()


def test_events_and_logs_as_lists_and_live_are_the_same(served: Served, client: Client) -> None:
    job = finished(served, client)
    assert [line.message for line in job.logs()] == ["first line", "second line"]
    assert list(job.logs(follow=True)) == list(job.logs())
    assert list(job.events(follow=True)) == list(job.events())
    assert [event.type for event in job.events()][-1] == "end"


def test_a_failed_job_raises_what_went_wrong(served: Served, client: Client) -> None:
    job = client.jobs.create(DIGITS)
    Attempt.begin(served.database).finish(
        "failed", failure=Failure("user", "not_finite", "[/] lower the rate", retryable=False)
    )
    with pytest.raises(errors.JobFailed, match="lower the rate") as caught:
        job.wait(progress=True)
    assert caught.value.failure["code"] == "not_finite"
    assert job.wait(raise_on_failure=False).state == "failed"


def test_a_wait_ends_in_time(client: Client) -> None:
    with pytest.raises(errors.WaitTimeout, match="queued"):
        client.jobs.create(DIGITS).wait(timeout_s=0, poll_s=0.01)


def test_jobs_are_steered_listed_and_deleted(client: Client) -> None:
    one, two = (client.jobs.create(DIGITS, metadata={"owner": owner}) for owner in ("ada", "bob"))
    assert one.pause().state == "paused"
    assert {job.id for job in client.jobs.list(state=["paused", "queued"])} == {one.id, two.id}
    assert [job.id for job in client.jobs.list(state="paused", family="digits")] == [one.id]
    assert [job.id for job in client.jobs.list(metadata={"owner": "bob"})] == [two.id]
    assert one.resume().state == "queued"
    assert one.cancel().is_over
    client.jobs.delete(one.id)
    with pytest.raises(errors.NotFound):
        client.jobs.get(one.id)
    assert client.jobs.validate(DIGITS).spec["family"] == "digits"


def test_a_dataset_is_uploaded_and_used(client: Client, tmp_path: Path) -> None:
    (tmp_path / "patches.npz").write_bytes(npz())
    dataset = client.datasets.create(tmp_path / "patches.npz", val_fraction=0.2)
    assert (dataset.state, dataset.name) == ("ready", "patches")
    job = client.jobs.create(
        family="patches",
        dataset={"id": dataset.id},
        task="regression",
        model={"arch": "mlp", "hidden": [8]},
        training={"steps": 10, "batch_size": 8},
    )
    assert [each.id for each in client.datasets.list()] == [dataset.id]
    with pytest.raises(errors.Conflict, match="in_use"):
        client.datasets.delete(dataset.id)
    job.cancel()
    client.datasets.delete(dataset.id)
    assert list(client.datasets.list()) == []


def test_what_cannot_be_read_as_a_dataset_is_said(client: Client, tmp_path: Path) -> None:
    (tmp_path / "broken.npz").write_bytes(b"no archive")
    with pytest.raises(errors.WarpAdamError, match=r"broken|npz"):
        client.datasets.create(tmp_path / "broken.npz")


def test_a_p_is_pushed_and_pulled(client: Client, tmp_path: Path) -> None:
    (tmp_path / "p.safetensors").write_bytes(warp_file())
    client.families.create("patches", promotion="manual")
    version = client.warps.push("patches", tmp_path / "p.safetensors")
    client.aliases.set("patches", "champion", version.version, reason="the first")
    warp = client.warps.pull("patches@champion")
    assert isinstance(warp, Warp)
    assert client.warps.get("patches").version == version.version == 1
    file = client.warps.download("patches@1", tmp_path / "new" / "pulled.safetensors")
    assert hashlib.sha256(file.read_bytes()).hexdigest() == version.sha256
    assert [each.name for each in file.parent.iterdir()] == ["pulled.safetensors"]
    assert [each.version for each in client.warps.list("patches")] == [1]
    assert client.families.get("patches").champion == 1
    assert list(client.families.contributions("patches")) == []


def test_a_p_whose_file_retention_removed_says_so(served: Served, client: Client, tmp_path: Path) -> None:
    (tmp_path / "p.safetensors").write_bytes(warp_file())
    client.families.create("patches")
    client.warps.push("patches", tmp_path / "p.safetensors")
    (tmp_path / "q.safetensors").write_bytes(warp_file(1))
    client.warps.push("patches", tmp_path / "q.safetensors")
    settings = served.services.settings.model_copy(update={"warps_keep": 1})
    assert collecting.collect(served.database, settings, clock.now()).warps == 1
    assert client.warps.get("patches@1").collected_at is not None
    with pytest.raises(errors.Collected, match="take a newer version"):
        client.warps.content("patches@1")
    assert client.warps.content("patches@2") == warp_file(1)


@pytest.mark.parametrize("name", ["../cluster", "a/b", "job x", "?limit=1", "%2e", ""])
def test_what_is_typed_as_an_id_is_never_a_path(client: Client, name: str) -> None:
    with pytest.raises(errors.NotFound):
        client.jobs.get(name)


@pytest.mark.parametrize("url", ["foo", "localhost:8000", "http://", "http://[", "ftp://x", "http://x:99999"])
def test_an_address_that_is_none_is_said_at_once(url: str) -> None:
    with pytest.raises(errors.ConnectionFailed, match="WARPADAM_URL"):
        Client(url)


def test_a_key_with_foreign_characters_is_refused_without_showing_it(served: Served) -> None:
    with pytest.raises(errors.WarpAdamError, match="WARPADAM_API_KEY") as caught:
        Client(served.url, api_key="schlüssel\n")
    assert "schl" not in str(caught.value)


def test_webhooks_show_their_secret_once(served: Served) -> None:
    with Client(served.url) as client:
        made = client.webhooks.create("https://8.8.8.8/hook", events=["end"])
        assert (made.secret or "").startswith("whsec_")
        (found,) = client.webhooks.list()
        assert (found.id, found.events, found.enabled, found.secret) == (made.id, ["end"], True, None)
        assert client.webhooks.get(made.id) == found
        client.webhooks.delete(made.id)
        assert list(client.webhooks.list()) == []


def test_a_match_is_waited_for(served: Served, client: Client) -> None:
    client.families.create("digits")
    asked = client.families.match(
        dataset={"builtin": "digits"}, task="classification", model={"arch": "mlp", "hidden": [8]}, families=["digits"]
    )
    with pytest.raises(errors.WaitTimeout, match="queued"):
        asked.wait(timeout_s=0, poll_s=0)
    finish(served.database)
    result = asked.wait().result
    assert result is not None
    assert [(each.family, each.score, each.covered) for each in result.matches] == [("digits", 0.12, ["input:64"])]
    assert (result.baselines.data, result.recommendation.family) == (None, "digits")
    assert client.families.get_match(asked.id).result == result
    other = client.families.match(
        {"dataset": {"builtin": "digits"}, "task": "classification", "model": {"arch": "mlp", "hidden": [8]}}
    )
    finish(served.database, ("timeout", "It took too long."))
    with pytest.raises(errors.MatchFailed, match="took too long"):
        other.wait()


def test_webhooks_are_changed_and_tried(served: Served) -> None:
    with Client(served.url) as client:
        made = client.webhooks.create("https://8.8.8.8/hook", events=["end"])
        assert client.webhooks.update(made.id, events="all").events == []
        off = client.webhooks.update(made.id, url="https://8.8.4.4/", events=["job.state"], enabled=False)
        assert (off.url, off.events, off.enabled) == ("https://8.8.4.4/", ["job.state"], False)
        with pytest.raises(errors.InvalidState, match="enable it first"):
            client.webhooks.test(made.id)
        assert client.webhooks.update(made.id, enabled=True).enabled
        sent = client.webhooks.test(made.id)
        assert (sent.event_type, sent.state) == ("test", "pending")
        assert client.webhooks.delivery(made.id, sent.id) == sent
        assert list(client.webhooks.deliveries(made.id)) == [sent]
        renewed = client.webhooks.rotate(made.id)
        assert renewed.secret not in (None, made.secret)
