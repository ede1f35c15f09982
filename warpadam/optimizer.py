"""The update as a pure function of lists of tensors, and `WarpAdam`, a thin `torch.optim.Optimizer` around it.

Without a P, or with P = I, it is `torch.optim.AdamW`: the same operations in the same order, bit for bit where
`foreach=False` is (CPU, float32).
"""

from collections.abc import Callable, Iterable, Mapping
from math import isfinite
from os import PathLike
from typing import Any, overload

import torch
from torch import Tensor, nn
from torch.optim.optimizer import Optimizer, ParamsT, StateDict

from warpadam.axes import Coverage, Row, cover, find_axes, own_axes, require, unwrap
from warpadam.shapes import AxisKeys
from warpadam.transport import rotations, transport
from warpadam.warp import Matrices, Warp, turn

MOMENTS = ("exp_avg", "exp_avg_sq")


def warp_adam(
    params: list[Tensor],  # θ, float32 or float64
    gradients: list[Tensor],  # g, of the same shapes and types
    *,
    exp_avgs: list[Tensor],  # m, in P's coordinates; changed in place
    exp_avg_sqs: list[Tensor],  # v, in P's coordinates; changed in place
    steps: list[int],  # t, this step included: 1 in the first
    warps: list[Matrices],  # P: a matrix or None for each axis; () is the identity
    lr: float,
    betas: tuple[float, float],
    eps: float,
    weight_decay: float,
    project_back: bool,
) -> None:
    """One step of WarpAdam (the equations are in the class), in place. An empty list is no step."""
    if not params:
        return
    beta1, beta2 = betas
    turned = [turn(g, P) if P else g for g, P in zip(gradients, warps, strict=True)]
    if weight_decay != 0:
        torch._foreach_mul_(params, 1 - lr * weight_decay)
    torch._foreach_lerp_(exp_avgs, turned, 1 - beta1)
    torch._foreach_mul_(exp_avg_sqs, beta2)
    torch._foreach_addcmul_(exp_avg_sqs, turned, turned, 1 - beta2)

    # m̂ / (√v̂ + ε) as AdamW groups it: the bias correction of m is part of the step size, that of v divides its root.
    sizes = [-lr / (1 - beta1**t) for t in steps]
    denominators = torch._foreach_sqrt(exp_avg_sqs)
    torch._foreach_div_(denominators, [(1 - beta2**t) ** 0.5 for t in steps])
    torch._foreach_add_(denominators, eps)

    straight = [i for i, P in enumerate(warps) if not (P and project_back)]
    if straight:
        torch._foreach_addcdiv_(
            [params[i] for i in straight],
            [exp_avgs[i] for i in straight],
            [denominators[i] for i in straight],
            [sizes[i] for i in straight],
        )
    for i in sorted(set(range(len(params))) - set(straight)):
        # addcdiv is θ + (size · m) / d: the same operations, with Pᵀ between the division and the sum.
        update = exp_avgs[i].mul(sizes[i]).div_(denominators[i])
        params[i].add_(turn(update, warps[i], transpose=True))


class WarpAdam(Optimizer):
    """Adam that sees the gradient through P, and by default takes its step back through Pᵀ.

        ĝ = P g                              g  `param.grad`;  P  `warp`, one matrix per axis: L G Rᵀ for a matrix G
        m ← β1 m + (1-β1) ĝ                  m  `exp_avg`,  β1, β2  `betas`
        v ← β2 v + (1-β2) ĝ²                 v  `exp_avg_sq`
        θ ← θ - η λ θ                        η  `lr`,  λ  `weight_decay`, in the original coordinates
        θ ← θ - η Pᵀ (m̂ / (√v̂ + ε))          ε  `eps`,  m̂ = m / (1-β1ᵗ),  v̂ = v / (1-β2ᵗ),  t  `step`

    `project_back=False` is the paper's rule: the last line without Pᵀ. With P orthogonal the default is exactly Adam in
    rotated coordinates; without a P both are AdamW.

    `params`: a module, its named parameters, or groups of these with options of their own; plain parameters have no
    names, so no P. `warp`: a Warp or the path of its file. `axes`: parameter name -> key for each axis (fewer keys than
    dimensions: the trailing dimensions are one axis); found by itself for our own models, and by parameter name where P
    has matrices for hidden axes. `strict`: ValueError where no axis found a matrix or where a size differs.
    Parameters below 32 bits keep float32 moments. The moments in a `state_dict` belong to the P they were made under,
    whose digest is stored with them: another P refuses them.
    """

    def __init__(
        self,
        params: nn.Module | ParamsT,
        lr: float = 1e-3,
        betas: tuple[float, float] = (0.9, 0.999),
        eps: float = 1e-8,
        weight_decay: float = 0.0,
        *,
        warp: Warp | str | PathLike[str] | None = None,
        axes: AxisKeys | None = None,
        strict: bool = True,
        project_back: bool = True,
    ) -> None:
        self._warp: Warp | None = None
        self._warps: dict[Tensor, list[str | None]] = {}
        self._given_axes = axes
        self._strict = strict
        if isinstance(params, nn.Module):
            self._given_axes = own_axes(params) if axes is None else axes
            params = list(unwrap(params).named_parameters())
        defaults = {"lr": lr, "betas": betas, "eps": eps, "weight_decay": weight_decay, "project_back": project_back}
        super().__init__(params, {**defaults, "warp": None})
        self._bind(warp if warp is None or isinstance(warp, Warp) else Warp.load(warp))

    def add_param_group(self, param_group: dict[str, Any]) -> None:
        _check_options({**self.defaults, **param_group})
        super().add_param_group(param_group)
        if self._warp is not None:
            self._bind(self._warp)

    @overload
    def step(self, closure: None = None) -> None: ...

    @overload
    def step(self, closure: Callable[[], float]) -> float: ...

    @torch.no_grad()
    def step(self, closure: Callable[[], float] | None = None) -> float | None:
        """One update of every parameter that has a gradient. A closure is called once, with gradients enabled."""
        loss = None
        if closure is not None:
            with torch.enable_grad():
                loss = closure()
        for group in self.param_groups:
            self._update([p for p in group["params"] if p.grad is not None], group)
        return loss

    def _update(self, params: list[Tensor], group: dict[str, Any]) -> None:
        states = [self._state(param) for param in params]
        for state in states:
            state["step"] += 1
        wide = [param.to(_wide(param)) for param in params]  # the parameter itself, unless it is below 32 bits
        warp_adam(
            wide,
            [param.grad.to(_wide(param)) for param in params if param.grad is not None],
            exp_avgs=[state["exp_avg"] for state in states],
            exp_avg_sqs=[state["exp_avg_sq"] for state in states],
            steps=[int(state["step"].item()) for state in states],
            warps=[self._matrices(param) for param in params],
            lr=float(group["lr"]),
            betas=group["betas"],
            eps=group["eps"],
            weight_decay=group["weight_decay"],
            project_back=group["project_back"],
        )
        for param, updated in zip(params, wide, strict=True):
            if updated is not param:
                param.copy_(updated)

    def _state(self, param: Tensor) -> dict[str, Tensor]:
        """AdamW's own state, made at the first step: `step` (float32, CPU), `exp_avg`, `exp_avg_sq`."""
        if param.grad is not None and param.grad.layout is not torch.strided:
            raise RuntimeError("WarpAdam needs dense gradients: make the embedding with sparse=False")
        if param.is_complex():
            raise RuntimeError("WarpAdam needs real parameters: optimise torch.view_as_real of a complex one")
        state: dict[str, Tensor] = self.state[param]
        if not state:
            state["step"] = torch.zeros((), dtype=torch.float32)
            for moment in MOMENTS:
                state[moment] = torch.zeros_like(param, dtype=_wide(param), memory_format=torch.preserve_format)
        return state

    def _matrices(self, param: Tensor) -> Matrices:
        keys = self._warps.get(param)
        if keys is None or self._warp is None:
            return ()
        return [None if key is None else self._warp.matrix(key, param.device, _wide(param)) for key in keys]

    def coverage(self) -> Coverage:
        """Which axes found a matrix, and why the others did not. Printable."""
        return self._cover(self._warp)[1]

    def change_warp(self, new: Warp | None) -> None:
        """Go on under another P: m and v are carried over into its coordinates, never reset.

        With R = P′Pᵀ per axis: m ← R_L m R_Rᵀ and v ← (R_L∘R_L) v (R_R∘R_R)ᵀ. A change by a signed permutation leaves
        every following step as it was. Change at most once in 1/(1-β2) steps: v needs them to forget. A P that `strict`
        refuses changes nothing.
        """
        before = {param: self._matrices(param) for param in self.state}
        self._bind(new)
        for param, old in before.items():
            turned = rotations(old, self._matrices(param))
            if turned:
                state = self.state[param]
                state["exp_avg"], state["exp_avg_sq"] = transport(state["exp_avg"], state["exp_avg_sq"], turned)

    def load_state_dict(self, state_dict: StateDict) -> None:
        """Exact: the next steps are those of the optimizer that was saved. ValueError for moments of another P."""
        for saved, own in zip(state_dict["param_groups"], self.param_groups, strict=False):
            if saved.get("warp") != own["warp"]:
                raise ValueError(
                    f"this state was made under warp {saved.get('warp')}, the optimizer has {own['warp']}: "
                    "load it into an optimizer with that warp, then call change_warp"
                )
        super().load_state_dict(state_dict)
        # The base class rounds moments to the parameter's type, float32 or not, and shares `step` with what was loaded.
        saved_ids = [index for group in state_dict["param_groups"] for index in group["params"]]
        for index, param in zip(saved_ids, self._parameters(), strict=True):
            for name, value in state_dict["state"].get(index, {}).items():
                if name in MOMENTS:
                    self.state[param][name] = value.to(device=param.device, dtype=_wide(param), copy=True)
                elif name == "step":
                    self.state[param][name] = torch.as_tensor(value, dtype=torch.float32, device="cpu").clone()

    def __getstate__(self) -> dict[str, Any]:
        own = ("_warp", "_warps", "_given_axes", "_strict")
        return {**super().__getstate__(), **{name: getattr(self, name) for name in own}}

    def __setstate__(self, state: dict[str, Any]) -> None:
        super().__setstate__(state)
        for group in self.param_groups:  # a state_dict of AdamW has neither
            group.setdefault("project_back", True)
            group.setdefault("warp", None)

    def _bind(self, warp: Warp | None) -> None:
        """Take this P. Nothing has changed when it is refused."""
        axes, coverage = self._cover(warp)
        if warp is not None and self._strict:
            if not any("param_names" in group for group in self.param_groups):
                raise ValueError(
                    "plain parameters have no names to find a matrix by: pass the model, or named_parameters"
                )
            require(coverage, warp.keys())
        covered = {(axis.parameter, axis.axis) for axis in coverage.covered}
        rows = {
            name: [key if (name, axis) in covered else None for axis, key in enumerate(row)]
            for name, row in axes.items()
        }
        named = dict(self._named())
        self._warp = warp
        self._warps = {named[name]: row for name, row in rows.items() if any(row)}
        for group in self.param_groups:
            group["warp"] = None if warp is None else warp.digest

    def _cover(self, warp: Warp | None) -> tuple[dict[str, Row], Coverage]:
        named = dict(self._named())
        keys = () if warp is None else warp.keys()
        axes = find_axes(named.items(), self._given_axes if named else None, keys)
        return axes, cover({name: tuple(param.shape) for name, param in named.items()}, axes, keys)

    def _named(self) -> Iterable[tuple[str, Tensor]]:
        for group in self.param_groups:
            yield from zip(group.get("param_names", ()), group["params"], strict=False)

    def _parameters(self) -> Iterable[Tensor]:
        return (param for group in self.param_groups for param in group["params"])


def _wide(param: Tensor) -> torch.dtype:
    """The type of a parameter's moments: its own, float32 below 32 bits."""
    return torch.float64 if param.dtype == torch.float64 else torch.float32


def _check_options(options: Mapping[str, Any]) -> None:
    lr, betas, eps, weight_decay = (options[name] for name in ("lr", "betas", "eps", "weight_decay"))
    for name, value in (("lr", lr), ("eps", eps), ("weight_decay", weight_decay)):
        if not (isfinite(value) and value >= 0):
            raise ValueError(f"{name} must be a finite number of at least 0, not {value}")
    if len(betas) != 2 or not all(0 <= beta < 1 for beta in betas):
        raise ValueError(f"betas must be two numbers of at least 0 and below 1, not {betas}")
