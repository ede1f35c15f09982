"""Models of transformers in the training loop: the real library, tiny configurations."""

from typing import Any

import numpy as np
import pytest
import torch
from safetensors.torch import load, save

from service.data.info import DatasetInfo
from service.hub import models
from service.learning import JobFacts
from service.spec import JobSpec
from service.spec_models import TransformersModel
from tests.require import require_module
from tests.service.kit import classes, table, text
from tests.workers.plans import Learner, Listener, plan
from workers.failures import BadInputError
from workers.group import Group
from workers.meta.core import LearnerCore, solve
from workers.plan import Plan
from workers.preparing import prepare_model
from workers.tasks.data import Split
from workers.train import train

GPT = {"model_type": "gpt2", "n_layer": 2, "n_embd": 16, "n_head": 2, "n_positions": 32}
BERT = {
    "model_type": "bert", "num_hidden_layers": 1, "hidden_size": 16, "num_attention_heads": 2, "intermediate_size": 32,
    "max_position_embeddings": 16,
}  # fmt: skip
ANCHOR = "0123456789ab"


@pytest.fixture(autouse=True)
def library() -> None:
    require_module("transformers", "pip install 'warpadam[huggingface]'")


def named(task: str, config: dict[str, Any], info: DatasetInfo, split: Split, **fields: Any) -> Plan:
    model = {"kind": "transformers", "config": config} | ({"context": 16} if task == "language_modeling" else {})
    spec = JobSpec.model_validate(
        {
            "family": "tests", "dataset": {"id": "ds_x"}, "task": task, "model": model,
            "optimizer": {"lr": 0.01, **fields.pop("optimizer", {})},
            "training": {"steps": 20, "batch_size": 8, "eval_every": 5, "checkpoint_every": 10},
        }
    )  # fmt: skip
    assert isinstance(spec.model, TransformersModel)
    found = models.resolved(spec.model, spec, info)
    return plan(split=split, spec=spec, model=found, **{"anchor": ANCHOR, "steps": 20, **fields})


def words(count: int = 4000) -> Split:
    data = np.frombuffer(b"the cat sat on the mat. " * (count // 24), np.uint8).copy()
    none = np.empty(0, np.int64)
    return Split(data[:-400], none, data[-400:], none)


def labelled(rows: int = 64) -> Split:
    """Bytes in rows of 8 with zeros behind them; the label is whether the first is large."""
    draw = np.random.default_rng(0)
    x = draw.integers(1, 200, (rows, 8)).astype(np.float32)
    x[:, 6:] = 0
    y = (x[:, 0] > 100).astype(np.int64)
    return Split(x[:-16], y[:-16], x[-16:], y[-16:])


def causal(**fields: Any) -> Plan:
    return named("language_modeling", GPT, text(), words(), **fields)


def classifier(config: dict[str, Any] = BERT, **fields: Any) -> Plan:
    return named(
        "classification", config, classes(["no", "yes"], input={"shape": [8], "dtype": "float32"}), labelled(), **fields
    )


def run(made: Plan) -> tuple[Listener, Any]:
    listener = Listener()
    return listener, train(made, Group(), listener, Learner())


@pytest.mark.parametrize(
    "make", [causal, classifier, lambda: classifier(GPT)], ids=["causal", "bert", "gpt2 classifier"]
)
def test_it_learns_and_goes_on_bit_for_bit(make: Any) -> None:
    listener, outcome = run(make())
    losses = dict(listener.points("val_loss"))
    assert losses[20] < losses[5]
    middle = next(saved for saved in listener.saved if saved.step == 10)
    made = make()
    again, resumed = run(Plan(**{**made.__dict__, "resume_model": middle.model, "resume_state": middle.state}))
    assert resumed.final == outcome.final
    assert dict(again.points("val_loss"))[20] == losses[20]


def test_outer_and_hidden_axes_have_keys() -> None:
    keys = prepare_model(causal(), Group()).axis_keys
    assert keys["transformer.wte.weight"] == ("tokens.tied:256", f"param:transformer.wte.weight:1:16@{ANCHOR}")
    assert "lm_head.weight" not in keys
    assert keys["transformer.h.0.attn.c_attn.weight"] == tuple(
        f"param:transformer.h.0.attn.c_attn.weight:{axis}:{size}@{ANCHOR}" for axis, size in enumerate((16, 48))
    )
    untied = named("language_modeling", {**GPT, "tie_word_embeddings": False}, text(), words(), anchor=None)
    keys = prepare_model(untied, Group()).axis_keys
    assert keys["transformer.wte.weight"] == ("tokens.in:256", None)
    assert keys["lm_head.weight"] == ("tokens.out:256", None)


def test_its_contributions_make_a_p_that_the_next_job_trains_under() -> None:
    made = causal(optimizer={"learn": "covariance"})
    learner = Learner()
    train(made, Group(), Listener(), learner)
    core = LearnerCore(max_axis=512, max_bytes=2**24)
    job = JobFacts("job_x", 1, "covariance", 20, dict(made.model), ANCHOR)
    for sent in learner.sent:
        if sent is not None:
            core.apply(core.check(sent, job))
    solved = solve(core.snapshot)
    assert solved is not None
    matrices = solved.solution.matrices
    assert {"tokens.tied:256", f"param:transformer.h.0.attn.c_attn.weight:0:16@{ANCHOR}"} <= matrices.keys()
    listener = Listener()
    again = causal(warp=solved.warp("texts", 1, None), warp_version=1)
    train(again, Group(), listener, Learner())
    assert not listener.events("warning")
    plain, _ = run(causal())
    assert dict(listener.points("val_loss"))[20] != dict(plain.points("val_loss"))[20]


def test_a_head_has_the_key_of_its_outputs() -> None:
    made = named(
        "regression",
        BERT,
        table(8, 3),
        Split(labelled().x_train, np.zeros((48, 3), np.float32), *([labelled().x_val] * 2)),
    )
    assert prepare_model(made, Group()).axis_keys["classifier.weight"] == (
        "output:3",
        f"param:classifier.weight:1:16@{ANCHOR}",
    )


def test_weights_are_those_of_the_seed() -> None:
    first, same, other = (prepare_model(causal(init_seed=seed), Group()).module for seed in (1, 1, 2))
    name = "transformer.h.0.attn.c_attn.weight"
    assert torch.equal(first.state_dict()[name], same.state_dict()[name])
    assert not torch.equal(first.state_dict()[name], other.state_dict()[name])


def test_weights_as_repositories_have_them() -> None:
    """Without the task's prefix, in half precision, tied tables once, and without a new head."""
    source = prepare_model(causal(init_seed=9), Group()).module
    bare = {
        name.removeprefix("transformer."): t.half()
        for name, t in source.state_dict().items()
        if name != "lm_head.weight"
    }
    data = save({name: tensor.clone() for name, tensor in bare.items()})
    tuned = prepare_model(causal(base=data), Group()).module
    for name, tensor in source.state_dict().items():
        assert torch.equal(tuned.state_dict()[name], tensor.half().float())
    plain = prepare_model(classifier(GPT), Group()).module
    headed = prepare_model(classifier(GPT, base=data), Group()).module
    assert torch.equal(headed.state_dict()["score.weight"], plain.state_dict()["score.weight"])
    assert torch.equal(
        headed.state_dict()["transformer.wte.weight"], source.state_dict()["transformer.wte.weight"].half().float()
    )


def test_weights_of_another_model_are_refused() -> None:
    with pytest.raises(BadInputError, match="another model"):
        prepare_model(causal(base=save({"x": torch.zeros(3)})), Group())
    with pytest.raises(BadInputError, match="safetensors"):
        prepare_model(causal(base=b"\x80\x04 a pickle"), Group())


def test_a_checkpoint_of_ours_is_taken_as_it_is() -> None:
    listener, _ = run(causal())
    last = listener.saved[-1]
    module = prepare_model(causal(base=last.model), Group()).module
    assert all(torch.equal(module.state_dict()[name], tensor) for name, tensor in load(last.model).items())


@pytest.mark.parametrize(
    ("config", "message"),
    [
        ({"model_type": "no-such"}, "cannot read the configuration"),
        ({**GPT, "n_layer": 4000}, "at most 256"),
        ({**GPT, "n_head": 3}, "cannot build"),
        ({"model_type": "vit"}, "cannot build"),
    ],
)
def test_a_configuration_that_is_none_is_the_users(config: dict[str, Any], message: str) -> None:
    with pytest.raises(BadInputError, match=message):
        prepare_model(named("language_modeling", config, text(), words()), Group())


def test_inputs_must_be_tokens() -> None:
    split = labelled()
    split.x_train[3, 3] = 0.5
    made = classifier()
    with pytest.raises(BadInputError, match="tokens"):
        prepare_model(Plan(**{**made.__dict__, "split": split}), Group())
