"""Our torch models are what warpadam.shapes says they are, and their weights depend on the seed alone."""

from typing import Any

import pytest
import torch

from warpadam import shapes
from workers.tasks import models

MODELS: list[dict[str, Any]] = [
    {"arch": "mlp", "hidden": [], "activation": "relu", "input": 3, "output": 1},
    {"arch": "mlp", "hidden": [128], "activation": "gelu", "input": 48, "output": 16},
    {"arch": "mlp", "hidden": [5, 7, 9], "activation": "tanh", "input": 2, "output": 4},
    {"arch": "convnet", "channels": [8], "kernel": 1, "input": [5, 4, 1], "output": 2},
    {"arch": "convnet", "channels": [16, 32, 8], "kernel": 3, "input": [8, 8, 3], "output": 10},
    {"arch": "transformer", "layers": 1, "width": 8, "heads": 2, "context": 4, "vocabulary": 16},
    {"arch": "transformer", "layers": 3, "width": 32, "heads": 4, "context": 16, "vocabulary": 256},
]
INPUTS = {"mlp": lambda m: torch.randn(6, m["input"]), "convnet": lambda m: torch.randn(6, *m["input"])}


def inputs(model: dict[str, Any]) -> torch.Tensor:
    if model["arch"] == "transformer":
        return torch.randint(model["vocabulary"], (6, model["context"]))
    return INPUTS[model["arch"]](model)


@pytest.mark.parametrize("model", MODELS, ids=lambda m: f"{m['arch']}-{len(str(m))}")
def test_parameters_are_those_of_shapes(model: dict[str, Any]) -> None:
    built = models.build(model, seed=0, anchor="0123456789ab")
    found = [(name, tuple(parameter.shape)) for name, parameter in built.named_parameters()]
    assert found == [(parameter.name, parameter.shape) for parameter in shapes.parameters(model)]
    assert built.axis_keys == shapes.axis_keys(model, "0123456789ab")
    assert not list(built.buffers())


@pytest.mark.parametrize("model", MODELS, ids=lambda m: f"{m['arch']}-{len(str(m))}")
def test_output_has_the_size_of_the_description(model: dict[str, Any]) -> None:
    output = models.build(model, seed=0)(inputs(model))
    size = model.get("output", model.get("vocabulary"))
    assert output.shape[0] == 6
    assert output.shape[-1] == size
    assert output.isfinite().all()


def test_weights_depend_on_the_seed_alone() -> None:
    first, again, other = (models.build(MODELS[-1], seed=seed).state_dict() for seed in (5, 5, 6))
    assert all(torch.equal(first[name], again[name]) for name in first)
    assert not torch.equal(first["blocks.0.q.weight"], other["blocks.0.q.weight"])


def test_building_leaves_the_global_random_state_alone() -> None:
    torch.manual_seed(1)
    expected = torch.rand(3)
    torch.manual_seed(1)
    models.build(MODELS[1], seed=9)
    assert torch.equal(torch.rand(3), expected)


def test_a_fresh_transformer_predicts_nothing_yet() -> None:
    """Its loss is that of a uniform guess, ln 256: neither saturated nor exploding with depth."""
    model = {"arch": "transformer", "layers": 8, "width": 64, "heads": 4, "context": 32, "vocabulary": 256}
    tokens = torch.randint(256, (8, 32))
    logits = models.build(model, seed=0)(tokens)
    loss = torch.nn.functional.cross_entropy(logits.flatten(0, 1), tokens.flatten())
    assert loss.item() == pytest.approx(5.545, abs=0.1)


def test_attention_does_not_see_what_comes_later() -> None:
    model = models.build(MODELS[-1], seed=0)
    tokens = torch.randint(256, (1, 16))
    changed = tokens.clone()
    changed[0, 10:] = (changed[0, 10:] + 1) % 256
    assert torch.allclose(model(tokens)[0, :10], model(changed)[0, :10], atol=1e-6)
    assert not torch.allclose(model(tokens)[0, 10:], model(changed)[0, 10:], atol=1e-6)


def test_an_unknown_architecture_is_refused() -> None:
    with pytest.raises(ValueError, match=r"model\.arch"):
        models.build({"arch": "rnn"}, seed=0)
