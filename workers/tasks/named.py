"""Models of the library transformers, from the configuration in the resolved model; offline, and from no pickle.

The module is the library's own, so its parameters have the library's names, and a checkpoint can be taken back to it.
Hooks make it what the loop expects: a tensor in, a tensor out.
"""

import importlib
import json
import os
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from workers import checkpoints
from workers.code.axes import Row, axis_keys
from workers.failures import BadInputError
from workers.plan import Plan
from workers.tasks.models import Prepared

_LAYERS = ("num_hidden_layers", "n_layer", "n_layers", "num_layers")
_MOST_LAYERS = 256
_CLASSES = {
    "language_modeling": "AutoModelForCausalLM",
    "classification": "AutoModelForSequenceClassification",
    "regression": "AutoModelForSequenceClassification",
}


def build(plan: Plan) -> Prepared:
    """The model with weights drawn from the plan's seed, on the CPU. BadInputError where there is none."""
    library, config = _library(), _config(plan)
    torch.manual_seed(plan.init_seed)
    with _explained("build"):
        module = _auto(library, plan).from_config(config, dtype=torch.float32)
    return _fitted(plan, module)


def load(module: nn.Module, plan: Plan, data: bytes) -> None:
    """Weights of one of our checkpoints, or of a repository; what that has not, such as a new head, stays as it is."""
    if load_keys(data) == module.state_dict().keys():
        checkpoints.load_model(module, data)
        return
    library, config = _library(), _config(plan)
    with tempfile.TemporaryDirectory(prefix="warpadam-") as folder:
        (Path(folder) / "config.json").write_text(json.dumps({**config.to_dict(), "dtype": None}))
        (Path(folder) / "model.safetensors").write_bytes(data)
        torch.manual_seed(plan.init_seed)
        with _explained("load"):
            found, report = _auto(library, plan).from_pretrained(
                folder,
                config=config,
                dtype=torch.float32,
                local_files_only=True,
                use_safetensors=True,
                ignore_mismatched_sizes=True,
                output_loading_info=True,
            )
    fresh = sorted({*report["missing_keys"], *(str(each[0]) for each in report["mismatched_keys"])})
    kept = module.state_dict()
    if len(fresh) > len(kept) // 2:
        raise BadInputError(f"the weights are of another model: it has no {', '.join(fresh[:3])}")
    module.load_state_dict({**found.state_dict(), **{name: kept[name] for name in fresh if name in kept}})


def load_keys(data: bytes) -> set[str]:
    """Names of the tensors of a safetensors file. BadInputError where it is none."""
    return set(checkpoints.read(data, "checkpoint"))


def _library() -> Any:
    os.environ["HF_HUB_OFFLINE"] = "1"  # read when the library is imported
    try:
        library = importlib.import_module("transformers")
    except ImportError as error:
        raise BadInputError("this worker has no transformers: pip install 'warpadam[huggingface]'") from error
    library.logging.set_verbosity_error()
    library.logging.disable_progress_bar()
    return library


def _auto(library: Any, plan: Plan) -> Any:
    return getattr(library, _CLASSES[plan.spec.task])


def _config(plan: Plan) -> Any:
    """The configuration as the library has it: its own defaults for what is not said."""
    given = plan.model["config"]
    assert isinstance(given, dict)
    fields = {name: value for name, value in given.items() if name != "model_type"}
    outputs = plan.model.get("output")
    if outputs is not None:
        fields["num_labels"] = outputs
    with _explained("read the configuration of"):
        config = _library().AutoConfig.for_model(given["model_type"], **fields)
    config.use_cache, config._attn_implementation = False, "sdpa"
    for name in _LAYERS:
        if isinstance(getattr(config, name, None), int) and getattr(config, name) > _MOST_LAYERS:
            raise BadInputError(f"model.config: {name} is {getattr(config, name)}; at most {_MOST_LAYERS} are built")
    return config


@contextmanager
def _explained(what: str) -> Iterator[None]:
    """Whatever the library raises is about the model that the job describes."""
    try:
        yield
    except (BadInputError, MemoryError):
        raise
    except Exception as error:
        reason = " ".join(str(error).split())[:300]
        raise BadInputError(f"transformers cannot {what} this model: {reason}") from error


def _fitted(plan: Plan, module: nn.Module) -> Prepared:
    vocabulary = _rows(module, "get_input_embeddings")
    _check_tokens(plan, vocabulary)
    pad = getattr(module.config, "pad_token_id", None)
    is_text = plan.context is not None

    def take(
        _module: nn.Module, inputs: tuple[Tensor, ...], _named: dict[str, Any]
    ) -> tuple[tuple[()], dict[str, Any]]:
        tokens_BL = inputs[0].long()
        named: dict[str, Any] = {"input_ids": tokens_BL, "use_cache": False} if is_text else {"input_ids": tokens_BL}
        if not is_text and pad is not None:
            named["attention_mask"] = (tokens_BL != pad).long()
        return (), named

    def give(_module: nn.Module, _inputs: object, _given: object, found: Any) -> Tensor:
        logits: Tensor = found.logits
        return logits

    module.register_forward_pre_hook(take, with_kwargs=True)
    module.register_forward_hook(give, with_kwargs=True)
    parameters = {name: tuple(p.shape) for name, p in module.named_parameters() if p.requires_grad}
    return Prepared(module, axis_keys(plan.model, parameters, _roles(plan, module), plan.anchor, plan.max_axis))


def _rows(module: nn.Module, which: str) -> int:
    table = getattr(module, which)()
    return int(table.weight.shape[0]) if table is not None else 0


def _check_tokens(plan: Plan, vocabulary: int) -> None:
    x = plan.split.x_train
    if plan.context is not None or not len(x):
        return
    for start in range(0, len(x), 65_536):
        block = np.asarray(x[start : start + 65_536], np.float64)
        if block.min() < 0 or block.max() >= vocabulary or bool((block != np.rint(block)).any()):
            raise BadInputError(f"inputs are tokens, whole numbers from 0 to {vocabulary - 1}, and these are others")


def _roles(plan: Plan, module: nn.Module) -> dict[str, Row]:
    """Keys of the outer axes: tokens in and out, which are one where their tables are; positions; classes or values.

    A table that is both has a key of its own, for its gradient is the sum of two.
    """
    names = {id(parameter): name for name, parameter in module.named_parameters()}
    into, out = _table(module, "get_input_embeddings"), _table(module, "get_output_embeddings")
    found: dict[str, Row] = {}
    if into is not None:
        role = "tokens.tied" if out is into else "tokens.in"
        found[names[id(into)]] = (f"{role}:{into.shape[0]}", None)
    if out is not None and out is not into:
        found[names[id(out)]] = (f"tokens.out:{out.shape[0]}", None)
    for name, parameter in module.named_parameters():
        if name.endswith((".wpe.weight", "position_embeddings.weight")) and parameter.shape[0] == plan.context:
            found[name] = (f"positions:{parameter.shape[0]}", None)
        last = name.rpartition(".weight")[0].rpartition(".")[2]
        is_head = last in ("score", "classifier", "out_proj") and parameter.ndim == 2
        if is_head and "." not in name.removesuffix(".weight") and parameter.shape[0] == plan.model.get("output"):
            found[name] = (f"output:{parameter.shape[0]}", None)
    return found


def _table(module: nn.Module, which: str) -> nn.Parameter | None:
    layer = getattr(module, which)()
    weight = getattr(layer, "weight", None)
    return weight if isinstance(weight, nn.Parameter) and weight.ndim == 2 else None
