"""Weights, metrics, names for versions, the cluster, completion; and what each kind of refusal exits with."""

from pathlib import Path

import numpy as np
import pytest
from safetensors.numpy import save

from tests.api.attempt import Attempt
from tests.api.made import npz, warp_file
from tests.warpadam.commands.test_commands import Type, refused, typed, warpadam
from tests.warpadam.sdk.served import Served
from warpadam import cli
from warpadam.sdk.errors import from_answer

__all__ = ["typed", "warpadam"]

WEIGHTS = save({"0.weight": np.ones((8, 64), np.float32)})


def test_weights_and_metrics_of_a_job(warpadam: Type, served: Served, tmp_path: Path) -> None:
    job_id = warpadam("submit", "job.yaml").out.strip()
    refused(warpadam("checkpoints", "pull", job_id), 1, "no checkpoint best")
    attempt = Attempt.begin(served.database)
    attempt.checkpoint(served.services.storage, WEIGHTS, 5)
    attempt.metric("val_loss", [2.0, 1.5])
    attempt.metric("lr", [0.1])
    (row,) = warpadam("checkpoints", "list", job_id).rows
    assert row[1:4] == ["5", "best", "last"]
    assert warpadam("checkpoints", "list", job_id, "--json").json[0]["step"] == 5
    for which, file in (("", f"{job_id}-best.safetensors"), ("/last", f"{job_id}-last.safetensors"), ("/5", "w")):
        options = ["-o", "w"] if which == "/5" else []
        assert warpadam("checkpoints", "pull", job_id + which, *options).out == f"{file}\n"
        assert (tmp_path / file).read_bytes() == WEIGHTS
    assert warpadam("metrics", job_id, "--name", "val_loss").rows == [
        ["val_loss", "0", "2.0000"],
        ["val_loss", "1", "1.5000"],
    ]
    assert set(warpadam("metrics", job_id, "--json").json) == {"val_loss", "lr"}
    refused(warpadam("delete", job_id), 1, "[invalid_state]")
    attempt.finish("cancelled")
    assert warpadam("delete", job_id).out == f"{job_id} deleted\n"
    refused(warpadam("show", job_id), cli.NOT_FOUND)


def test_ones_own_weights_are_uploaded(warpadam: Type, tmp_path: Path) -> None:
    (tmp_path / "base.safetensors").write_bytes(WEIGHTS)
    assert warpadam("checkpoints", "push", "base.safetensors").out.startswith("ckpt_")


def test_a_version_gets_a_name(warpadam: Type, tmp_path: Path) -> None:
    warpadam("submit", "job.yaml")
    for seed in (1, 2):
        (tmp_path / "p.safetensors").write_bytes(warp_file(seed))
        warpadam("warps", "push", "digits", "p.safetensors")
    assert warpadam("warps", "promote", "digits@1", "--reason", "2 was worse").out == "digits@champion is digits@1\n"
    assert warpadam("warps", "promote", "digits@latest", "--alias", "stable", "--json").json["version"] == 2
    assert warpadam("warps", "pull", "digits@stable", "--json").json["version"] == 2
    refused(warpadam("warps", "promote", "digits"), 2, "digits@7")
    refused(warpadam("warps", "promote", "digits@1", "--alias", "latest"), 1, "latest")


def test_datasets_are_shown_and_deleted(warpadam: Type, tmp_path: Path) -> None:
    (tmp_path / "patches.npz").write_bytes(npz())
    dataset_id = warpadam("datasets", "add", "patches.npz").out.strip()
    assert "state: ready" in warpadam("datasets", "show", dataset_id).out
    assert warpadam("datasets", "delete", dataset_id, "--json").json["deleted"] is True
    refused(warpadam("datasets", "show", dataset_id), cli.NOT_FOUND)


def test_the_cluster(warpadam: Type) -> None:
    warpadam("submit", "job.yaml")
    said = warpadam("cluster")
    assert (said.code, said.out) == (0, "")
    assert "1 queued, 0 running" in said.err
    assert warpadam("cluster", "--json").json["queue"]["queued"] == 1


def test_shells_complete_commands_jobs_and_families(warpadam: Type, monkeypatch: pytest.MonkeyPatch) -> None:
    job_id = warpadam("submit", "job.yaml").out.strip()

    def offered(line: str) -> list[str]:
        monkeypatch.setenv("_WARPADAM_COMPLETE", "complete_bash")
        monkeypatch.setenv("COMP_WORDS", line)
        monkeypatch.setenv("COMP_CWORD", str(len(line.split(" ")) - 1))
        said = warpadam()
        monkeypatch.delenv("_WARPADAM_COMPLETE")
        return said.out.split()

    assert offered("warpadam wat") == ["watch"]
    assert offered("warpadam show job_") == [job_id]
    assert offered("warpadam warps pull di") == ["digits"]
    monkeypatch.setenv("WARPADAM_URL", "http://127.0.0.1:9")
    assert offered("warpadam show job_") == []


@pytest.mark.parametrize(
    ("status", "code"),
    [(401, 5), (403, 5), (404, 4), (409, 1), (422, 1), (429, 6), (500, 6), (503, 6)],
)
def test_each_refusal_has_its_exit_code(typed: Type, monkeypatch: pytest.MonkeyPatch, status: int, code: int) -> None:
    def refuse(_: object) -> None:
        raise from_answer(status, {"code": "some_code", "detail": "No."})

    monkeypatch.setattr("warpadam.client.Client.cluster", refuse)
    refused(typed("cluster"), code, "No. [some_code]")
