"""Jobs that name a model of the hub: settled at submit, trained without it. The hub is one on this machine."""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
from fastapi import FastAPI
from safetensors.torch import load, save
from starlette.testclient import TestClient

from api.deps import Services
from service import attempts, clock
from service.hub import extras
from service.settings import Settings
from tests.api.conftest import serving
from tests.hub import LOOPBACK, StandIn, stand_in
from workers.loading import Memory
from workers.runner import RECORDED, Runner

NAME = "models/acme/tiny-gpt"
CONFIG = {"model_type": "gpt2", "n_layer": 1, "n_embd": 8, "n_head": 2, "n_positions": 16, "vocab_size": 256}
JOB: dict[str, Any] = {
    "family": "texts",
    "dataset": {"builtin": "python-text", "part": "json"},
    "task": "language_modeling",
    "model": {"kind": "transformers", "name": "acme/tiny-gpt", "context": 16},
    "init": {"checkpoint": "hf://acme/tiny-gpt@main"},
    "optimizer": {"learn": "none", "lr": 0.003},
    "training": {"steps": 6, "batch_size": 4, "eval_every": 0, "checkpoint_every": 0, "seed": 1},
}


def weights() -> bytes:
    """As `save_pretrained` of the library writes them: the tied table once."""
    import transformers

    torch.manual_seed(3)
    fields = {name: value for name, value in CONFIG.items() if name != "model_type"}
    model = transformers.AutoModelForCausalLM.from_config(transformers.AutoConfig.for_model("gpt2", **fields))
    return save({name: tensor for name, tensor in model.state_dict().items() if name != "lm_head.weight"})


@pytest.fixture
def hub() -> Iterator[StandIn]:
    with stand_in("transformers") as found:
        yield found


@pytest.fixture
def services(built_app: FastAPI, hub: StandIn, sqlite_url: str, tmp_path: Path) -> Iterator[Services]:
    with serving(built_app, sqlite_url, tmp_path) as services:
        known = {**services.settings.model_dump(), "hub_url": hub.url, "outbound_networks": LOOPBACK}
        changed = Services(Settings.model_validate(known), services.database, services.storage)
        built_app.state.services = changed
        yield changed


def post(client: TestClient, **fields: Any) -> Any:
    return client.post("/v1/jobs", json={**JOB, **fields})


def refused(client: TestClient, param: str, **fields: Any) -> str:
    answer = post(client, **fields)
    assert answer.status_code == 422, answer.text
    assert answer.json()["param"] == param
    detail: str = answer.json()["detail"]
    return detail


def run(services: Services) -> str:
    claim = services.database.write(
        lambda session: attempts.claim_next(
            session, now=clock.now(), lease_s=30, launcher="process", fits=lambda _spec: True
        )
    )
    assert claim is not None
    memory = Memory(services.settings, services.database, services.storage)
    assert Runner(memory, claim.fence).run() == RECORDED
    return claim.fence.job_id


def test_it_is_pinned_and_trained_without_the_hub(client: TestClient, services: Services, hub: StandIn) -> None:
    files = {"config.json": json.dumps({**CONFIG, "auto_map": {"AutoModel": "evil.Model"}}).encode()}
    commit = hub.add(NAME, {**files, "model.safetensors": weights(), "evil.py": b"raise SystemExit"})
    answer = post(client)
    assert answer.status_code == 201, answer.text
    spec = answer.json()["spec"]
    assert spec["model"]["revision"] == commit
    assert spec["model"]["config"] == CONFIG
    assert spec["init"]["checkpoint"].startswith("ckpt_")
    again = post(client)
    assert again.json()["spec"]["init"] == spec["init"], "weights that are here are not fetched again"
    assert sum("model.safetensors" in path for path, _ in hub.asked) == 2, "asked, and led on, once"
    hub.repositories.clear()
    job = run(services)
    done = client.get(f"/v1/jobs/{job}").json()
    assert (done["state"], done["failure"]) == ("succeeded", None)
    tensors = load(client.get(f"/v1/jobs/{job}/checkpoints/last/content").content)
    assert {"transformer.wte.weight", "lm_head.weight"} <= tensors.keys()


def test_from_scratch_needs_no_hub(client: TestClient, services: Services, hub: StandIn) -> None:
    config = {**CONFIG, "model_type": "llama", "hidden_size": 8, "num_hidden_layers": 1, "num_attention_heads": 2}
    config = {name: value for name, value in config.items() if not name.startswith("n_")} | {"intermediate_size": 16}
    answer = post(client, model={"kind": "transformers", "config": config, "context": 16}, init="family")
    assert answer.status_code == 201, answer.text
    job = run(services)
    assert client.get(f"/v1/jobs/{job}").json()["state"] == "succeeded"
    assert not hub.asked


def test_what_cannot_be_used_is_told_at_submit(client: TestClient, services: Services, hub: StandIn) -> None:
    config = json.dumps(CONFIG).encode()
    hub.add(NAME, {"config.json": config, "pytorch_model.bin": b"\x80\x04"})
    assert "only pickles" in refused(client, "init.checkpoint")
    hub.add(NAME, {"config.json": config, "model.safetensors": b"\x80\x04 a pickle under another name"})
    assert "not safetensors" in refused(client, "init.checkpoint")
    hub.add(NAME, {"config.json": b"[1]", "model.safetensors": b""})
    assert "describes no model" in refused(client, "model.name")
    given = {"kind": "transformers", "config": {**CONFIG, "auto_map": {}}, "context": 16}
    assert "not for a job to say" in refused(client, "model.config", model=given, init="random")
    assert "no such repository" in refused(client, "model.name", model={**JOB["model"], "name": "acme/none"})
    small = {**given, "config": {**CONFIG, "vocab_size": 100}}
    assert "at least 256" in refused(client, "model.config", model=small, init="random")
    assert "length of a window" in refused(
        client, "model.context", model={"kind": "transformers", "config": CONFIG}, init="random"
    )
    ours = {"arch": "transformer", "layers": 1, "width": 8, "heads": 2, "context": 16}
    assert "go with model.kind" in refused(client, "init.checkpoint", model=ours)


def test_a_missing_extra_is_told_with_the_command(
    client: TestClient, services: Services, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(extras, "is_here", lambda _package: False)
    assert "pip install 'warpadam[huggingface]'" in refused(client, "model.kind")
