"""Our models with a leading axis: S copies with weights of their own, computed together.

Each function is `workers.tasks.models` of one architecture, with x (S, B, ...) and every weight (S, ...). Tests compare
them with the plain modules. Tiny models spend their time between operations; S of them share it.
"""

from collections.abc import Callable, Mapping

import torch
from torch import Tensor, nn

from benchmarks.convergence.tasks import Kind, ModelOf

F = nn.functional
Stack = Mapping[str, Tensor]
"""Parameter name -> (S, *shape)."""
_ACTIVATIONS: Mapping[str, Callable[[Tensor], Tensor]] = {"relu": F.relu, "gelu": F.gelu, "tanh": torch.tanh}


def outputs(model: ModelOf, weights: Stack, x: Tensor) -> Tensor:
    """x (S, B, ...) -> (S, B, [L,] outputs)."""
    match model["arch"]:
        case "mlp":
            return _mlp(model, weights, x)
        case "convnet":
            return _convnet(model, weights, x)
        case _:
            return _transformer(model, weights, x)


def losses(kind: Kind, predicted: Tensor, targets: Tensor) -> Tensor:
    """(S,): the mean loss of each model, as `workers.tasks.losses` has it."""
    if kind == "regression":
        return (predicted - targets).square().flatten(1).mean(1)
    logs = F.log_softmax(predicted, dim=-1).gather(-1, targets[..., None])
    return -logs.flatten(1).mean(1)


def _linear(weights: Stack, name: str, x: Tensor) -> Tensor:
    return torch.baddbmm(weights[f"{name}.bias"][:, None], x, weights[f"{name}.weight"].mT)


def _mlp(model: ModelOf, weights: Stack, x: Tensor) -> Tensor:
    activation = _ACTIVATIONS[str(model["activation"])]
    x = x.flatten(2)
    last = len(weights) // 2 - 1
    for index in range(last):
        x = activation(_linear(weights, f"layers.{index}", x))
    return _linear(weights, f"layers.{last}", x)


def _convnet(model: ModelOf, weights: Stack, x_SBHWC: Tensor) -> Tensor:
    x = x_SBHWC.permute(0, 1, 4, 2, 3)
    S, B = x.shape[:2]
    for index in range((len(weights) - 2) // 2):
        kernel, bias = weights[f"convs.{index}.weight"], weights[f"convs.{index}.bias"]
        if index and min(x.shape[3:]) >= 4:
            pooled = F.max_pool2d(x.flatten(0, 1), 2)
            x = pooled.view(S, B, *pooled.shape[1:])
        height, width = x.shape[3:]
        columns = F.unfold(x.flatten(0, 1), kernel.shape[-1], padding=kernel.shape[-1] // 2)
        convolved = kernel.flatten(2)[:, None] @ columns.view(S, B, *columns.shape[1:]) + bias[:, None, :, None]
        x = F.relu(convolved).view(S, B, kernel.shape[1], height, width)
    return _linear(weights, "head", x.mean(dim=(3, 4)))


def _transformer(model: ModelOf, weights: Stack, tokens_SBL: Tensor) -> Tensor:
    S, B, L = tokens_SBL.shape
    table = weights["tokens.weight"]
    offsets = torch.arange(S)[:, None, None] * table.shape[1]
    x = F.embedding(tokens_SBL + offsets, table.flatten(0, 1)) + weights["positions.weight"][:, None, :L]
    x = x.flatten(1, 2)  # (S, B·L, D)
    heads, layers = int(str(model["heads"])), int(str(model["layers"]))
    for index in range(layers):
        name = f"blocks.{index}"
        x = x + _attend(weights, name, _norm(weights, f"{name}.norm1", x), (B, L, heads))
        hidden = F.gelu(_norm(weights, f"{name}.norm2", x) @ weights[f"{name}.up.weight"].mT)
        x = x + hidden @ weights[f"{name}.down.weight"].mT
    logits = _norm(weights, "norm", x) @ weights["head.weight"].mT
    return logits.view(S, B, L, -1)


def _norm(weights: Stack, name: str, x: Tensor) -> Tensor:
    normed = F.layer_norm(x, x.shape[-1:])
    return torch.addcmul(weights[f"{name}.bias"][:, None], normed, weights[f"{name}.weight"][:, None])


def _attend(weights: Stack, name: str, x: Tensor, sizes: tuple[int, int, int]) -> Tensor:
    B, L, heads = sizes
    S, _, D = x.shape
    joined = torch.cat([weights[f"{name}.{part}.weight"] for part in "qkv"], dim=1)
    parts = (x @ joined.mT).view(S, B, L, 3, heads, D // heads).permute(3, 0, 1, 4, 2, 5)
    q, k, v = (part.reshape(S * B * heads, L, D // heads) for part in parts)
    future = torch.full((L, L), float("-inf")).triu(1)
    shares = torch.softmax(torch.baddbmm(future, q, k.mT, alpha=(D // heads) ** -0.5), dim=-1)
    attended = (shares @ v).view(S, B, heads, L, D // heads).transpose(2, 3).reshape(S, B * L, D)
    output: Tensor = attended @ weights[f"{name}.o.weight"].mT
    return output
