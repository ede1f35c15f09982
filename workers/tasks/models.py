"""Our own models, built from the resolved description that `warpadam.shapes` reads by arithmetic.

Invariants: parameters have the names, shapes and order of `shapes.parameters`; weights are drawn on the CPU in that
order from one seed, so they are the same for any device and any number of workers; 1-D parameters are not drawn
(norms start at one, biases at zero).
"""

import math
from collections.abc import Callable
from dataclasses import dataclass
from itertools import pairwise

import torch
from torch import Tensor, nn

from warpadam import shapes

F = nn.functional
EMBEDDING_STD = 0.02


_ACTIVATIONS: dict[str, Callable[[Tensor], Tensor]] = {"relu": F.relu, "gelu": F.gelu, "tanh": torch.tanh}


class Model(nn.Module):
    """A model that knows the keys of its axes; `forward` takes a batch of inputs as the dataset has them."""

    axis_keys: dict[str, tuple[str | None, ...]]
    """Parameter name -> one key per axis: what WarpAdam and the observer read."""

    def std(self, name: str, parameter: Tensor) -> float:
        """Standard deviation from which a parameter of two or more dimensions is drawn."""
        fan_in = parameter[0].numel()
        return math.sqrt(2.0 / fan_in)


@dataclass(frozen=True)
class Prepared:
    """A module that can be trained, ours or a user's, and the keys of its axes."""

    module: nn.Module
    axis_keys: shapes.AxisKeys


class Mlp(Model):
    """x (N, ...) -> (N, output): linear layers with an activation between them."""

    def __init__(self, widths: list[int], activation: str) -> None:
        super().__init__()
        self.layers = nn.ModuleList(nn.Linear(n, m) for n, m in pairwise(widths))
        self.activation: Callable[[Tensor], Tensor] = _ACTIVATIONS[activation]
        self.gain = 1.0 if activation == "tanh" else math.sqrt(2.0)

    def std(self, name: str, parameter: Tensor) -> float:
        """He's scale before an activation, a plain 1/sqrt(n) before the loss."""
        last = name == f"layers.{len(self.layers) - 1}.weight"
        return (1.0 if last else self.gain) / math.sqrt(parameter.shape[1])

    def forward(self, x: Tensor) -> Tensor:
        x = x.flatten(1)
        for layer in self.layers[:-1]:
            x = self.activation(layer(x))
        output: Tensor = self.layers[-1](x)
        return output


class Convnet(Model):
    """x (N, H, W, C) -> (N, output): a convolution per stage, halved between stages, then the mean over places."""

    def __init__(self, widths: list[int], kernel: int, output: int) -> None:
        super().__init__()
        self.convs = nn.ModuleList(nn.Conv2d(n, m, kernel, padding=kernel // 2) for n, m in pairwise(widths))
        self.head = nn.Linear(widths[-1], output)

    def std(self, name: str, parameter: Tensor) -> float:
        return 1.0 / math.sqrt(parameter.shape[1]) if name == "head.weight" else super().std(name, parameter)

    def forward(self, x_NHWC: Tensor) -> Tensor:
        x = x_NHWC.permute(0, 3, 1, 2).contiguous()
        for index, conv in enumerate(self.convs):
            if index and min(x.shape[2:]) >= 4:
                x = F.max_pool2d(x, 2)
            x = F.relu(conv(x))
        output: Tensor = self.head(x.mean(dim=(2, 3)))
        return output


class Block(nn.Module):
    """One layer of the transformer: causal attention, then a hidden layer four times as wide; norms come first."""

    def __init__(self, width: int, heads: int) -> None:
        super().__init__()
        self.heads = heads
        self.norm1 = nn.LayerNorm(width)
        self.q = nn.Linear(width, width, bias=False)
        self.k = nn.Linear(width, width, bias=False)
        self.v = nn.Linear(width, width, bias=False)
        self.o = nn.Linear(width, width, bias=False)
        self.norm2 = nn.LayerNorm(width)
        self.up = nn.Linear(width, 4 * width, bias=False)
        self.down = nn.Linear(4 * width, width, bias=False)

    def forward(self, x_BLD: Tensor) -> Tensor:
        x_BLD = x_BLD + self._attend(self.norm1(x_BLD))
        hidden: Tensor = self.down(F.gelu(self.up(self.norm2(x_BLD))))
        return x_BLD + hidden

    def _attend(self, x_BLD: Tensor) -> Tensor:
        B, L, D = x_BLD.shape
        q, k, v = (part(x_BLD).view(B, L, self.heads, -1).transpose(1, 2) for part in (self.q, self.k, self.v))
        attended_BHLd = F.scaled_dot_product_attention(q, k, v, is_causal=True)
        output: Tensor = self.o(attended_BHLd.transpose(1, 2).reshape(B, L, D))
        return output


class Transformer(Model):
    """tokens (B, L <= context) -> logits (B, L, vocabulary): decoder only, learned positions, untied head."""

    def __init__(self, layers: int, width: int, heads: int, context: int, vocabulary: int) -> None:
        super().__init__()
        self.tokens = nn.Embedding(vocabulary, width)
        self.positions = nn.Embedding(context, width)
        self.blocks = nn.ModuleList(Block(width, heads) for _ in range(layers))
        self.norm = nn.LayerNorm(width)
        self.head = nn.Linear(width, vocabulary, bias=False)

    def std(self, name: str, parameter: Tensor) -> float:
        """Embeddings and head 0.02, matrices 1/sqrt(fan in); what is added to the residual stream is smaller by
        sqrt(2 layers), so that the stream does not grow with depth."""
        if name in ("tokens.weight", "positions.weight", "head.weight"):
            return EMBEDDING_STD
        scale = 1.0 / math.sqrt(parameter.shape[1])
        if name.endswith((".o.weight", ".down.weight")):
            scale /= math.sqrt(2 * len(self.blocks))
        return scale

    def forward(self, tokens_BL: Tensor) -> Tensor:
        places_L = torch.arange(tokens_BL.shape[1], device=tokens_BL.device)
        x_BLD = self.tokens(tokens_BL) + self.positions(places_L)
        for block in self.blocks:
            x_BLD = block(x_BLD)
        logits_BLV: Tensor = self.head(self.norm(x_BLD))
        return logits_BLV


def build(model: shapes.Model, *, seed: int, anchor: str | None = None, max_axis: int = shapes.MAX_AXIS) -> Model:
    """The model of a resolved description on the CPU, its weights drawn from `seed`.

    ValueError where the description is not one of our models.
    """
    expected = shapes.parameters(model)
    with torch.device("meta"):
        module = _skeleton(model)
    module.to_empty(device="cpu")
    found = [(name, tuple(parameter.shape)) for name, parameter in module.named_parameters()]
    if found != [(parameter.name, parameter.shape) for parameter in expected]:
        raise AssertionError(f"the torch model of {model} does not have the parameters that warpadam.shapes lists")
    module.axis_keys = shapes.axis_keys(model, anchor, max_axis)
    _draw(module, seed)
    return module


def _draw(module: Model, seed: int) -> None:
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for name, parameter in module.named_parameters():
            if parameter.ndim > 1:
                parameter.normal_(0.0, module.std(name, parameter), generator=generator)
            else:
                parameter.fill_(1.0 if "norm" in name and name.endswith("weight") else 0.0)


def _skeleton(model: shapes.Model) -> Model:
    match model["arch"]:
        case "mlp":
            widths = [_int(model["input"]), *_ints(model["hidden"]), _int(model["output"])]
            return Mlp(widths, str(model["activation"]))
        case "convnet":
            widths = [_ints(model["input"])[2], *_ints(model["channels"])]
            return Convnet(widths, _int(model["kernel"]), _int(model["output"]))
        case _:
            sizes = {name: _int(model[name]) for name in ("layers", "width", "heads", "context", "vocabulary")}
            return Transformer(**sizes)


def _int(value: object) -> int:
    if not isinstance(value, int):
        raise TypeError(f"a size in a model's description must be a whole number, not {value!r}")
    return value


def _ints(value: object) -> list[int]:
    if not isinstance(value, list | tuple):
        raise TypeError(f"sizes in a model's description must be a list, not {value!r}")
    return [_int(item) for item in value]
