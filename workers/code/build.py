"""From an entrypoint to a module that training can use: imported, called, and looked at before the first step.

    def build(input_shape, outputs, **kwargs) -> torch.nn.Module

`input_shape` is that of one input, (48,) or (height, width, channels), or (context,) for text; `outputs` the number of
values, classes, or bytes (256). The module maps float32 (N, *input_shape) to (N, outputs), and bytes as int64 (B, L),
L at most context, to (B, L, outputs). It may declare `warp_axes` (workers/code/axes.py).
"""

import importlib
import random
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from service.spec_models import CodeModel
from workers.code.axes import axis_keys
from workers.code.blame import BadModelError
from workers.plan import Plan
from workers.tasks.models import Prepared

TRIED_ROWS = 4


def build(plan: Plan, folder: Path) -> Prepared:
    """The module of the plan's entrypoint in the package that lies in `folder`; its weights are of the plan's seed.

    BadModelError for what cannot be trained; whatever the code itself raises.
    """
    assert isinstance(plan.spec.model, CodeModel)
    function = find(plan.spec.model.entrypoint, folder)
    _seed(plan.init_seed)
    module = function(input_shape(plan), outputs(plan), **plan.spec.model.kwargs)
    check_module(module)
    declared = getattr(module, "warp_axes", None)
    parameters = {name: tuple(p.shape) for name, p in module.named_parameters() if p.requires_grad}
    try:
        keys = axis_keys(plan.model, parameters, declared, plan.anchor, plan.max_axis)
    except ValueError as error:
        raise BadModelError(str(error)) from None
    return Prepared(module, keys)


def find(entrypoint: str, folder: Path) -> Callable[..., Any]:
    """The function, imported from the folder. BadModelError where it is not there, or the name is another's."""
    name, _, function = entrypoint.partition(":")
    if str(folder) not in sys.path:
        sys.path.append(str(folder))  # last: what a worker has goes before, and its names are refused in packages
    importlib.invalidate_caches()
    module = importlib.import_module(name)
    if not Path(module.__file__ or "").is_relative_to(folder):
        raise BadModelError(f"model.entrypoint: the workers have another module {name}: rename yours")
    found = getattr(module, function, None)
    if not callable(found):
        what = "defines no" if found is None else f"has a {type(found).__name__}, not a function, as"
        raise BadModelError(f"model.entrypoint: the module {name} {what} {function}")
    return found  # type: ignore[no-any-return]  # callable() leaves it Any


def input_shape(plan: Plan) -> tuple[int, ...]:
    return tuple(plan.split.x_train.shape[1:]) if plan.context is None else (plan.context,)


def outputs(plan: Plan) -> int:
    found = plan.model.get("output", plan.model.get("vocabulary"))
    assert isinstance(found, int)
    return found


def check_module(module: object) -> None:
    """BadModelError unless it can be trained at all."""
    if not isinstance(module, nn.Module):
        raise BadModelError(f"The function must return a torch.nn.Module, and returned {_a(module)}.")
    trained = [(name, parameter) for name, parameter in module.named_parameters() if parameter.requires_grad]
    if not trained:
        raise BadModelError("The module has no parameter that requires a gradient: there is nothing to train.")
    for name, tensor in module.state_dict().items():
        if not isinstance(tensor, Tensor):
            raise BadModelError(f"state_dict: {name} is {_a(tensor)}: checkpoints hold tensors only.")
        if tensor.device.type != "cpu":
            raise BadModelError(f"{name} is on {tensor.device}: make the module on the CPU, it is moved afterwards.")
        if tensor.layout is not torch.strided or tensor.is_complex():
            raise BadModelError(f"{name} is sparse or complex: use dense real tensors.")
    for name, parameter in module.named_parameters():
        if isinstance(parameter, nn.parameter.UninitializedParameter):
            raise BadModelError(f"{name} has no shape yet: use layers that are not lazy, the sizes are given.")
        if parameter.dtype != torch.float32:
            raise BadModelError(f"{name} is {parameter.dtype}: use float32; training.precision makes the rest bf16.")
        if not bool(torch.isfinite(parameter).all()):
            raise BadModelError(f"{name} holds values that are no finite numbers: initialise it.")


def try_forward(plan: Plan, module: nn.Module, device: torch.device) -> None:
    """One batch of the training data through the module. BadModelError where what comes out is not what training needs.

    Leaves the module, its mode and the random numbers as they were.
    """
    state = torch.get_rng_state()
    was_training = module.training
    module.eval()
    inputs = _first_inputs(plan).to(device)
    try:
        with torch.no_grad():
            found = module(inputs)
    finally:
        module.train(was_training)
        torch.set_rng_state(state)
    check_outputs(found, expected_shape(plan, inputs))
    if not bool(torch.isfinite(found).all()):
        raise BadModelError("forward gave values that are no finite numbers on the first rows of the training data.")


def expected_shape(plan: Plan, inputs: Tensor) -> tuple[int, ...]:
    return (*inputs.shape, outputs(plan)) if plan.context is not None else (len(inputs), outputs(plan))


def check_outputs(found: object, shape: tuple[int, ...]) -> None:
    if not isinstance(found, Tensor):
        raise BadModelError(f"forward must return one tensor, and returned {_a(found)}.")
    if tuple(found.shape) != shape:
        raise BadModelError(f"forward must return the shape {shape} here, and returned {tuple(found.shape)}.")
    if not found.is_floating_point():
        raise BadModelError(f"forward must return floating point numbers, and returned {found.dtype}.")


def checked_outputs(plan: Plan, module: nn.Module) -> None:
    """From here on every forward is checked: a wrong shape would be broadcast by the loss, in silence."""

    def look(_module: nn.Module, inputs: tuple[Any, ...], found: object) -> None:
        check_outputs(found, expected_shape(plan, inputs[0]))

    module.register_forward_hook(look)


def _first_inputs(plan: Plan) -> Tensor:
    x = plan.split.x_train
    if plan.context is None:
        return torch.from_numpy(np.array(x[:TRIED_ROWS]))
    return torch.from_numpy(np.array(x[: plan.context]))[None].long()


def _seed(seed: int) -> None:
    torch.manual_seed(seed)
    np.random.seed(seed % 2**32)  # the code may use either
    random.seed(seed)


def _a(value: object) -> str:
    return "None" if value is None else f"a {type(value).__name__}"
