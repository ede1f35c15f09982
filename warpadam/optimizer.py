"""`WarpAdam`, a thin `torch.optim.Optimizer` around the pure update of `warpadam.update`.

Without a P, or with P = I, it is `torch.optim.AdamW`, bit for bit where `foreach=False` is (CPU, float32).
"""

from collections.abc import Callable, Iterable
from dataclasses import replace
from os import PathLike
from typing import Any, overload

import torch
from torch import Tensor, nn
from torch.optim.optimizer import Optimizer, ParamsT, StateDict

from warpadam import adapt as adapting
from warpadam.adapt import Adaptation, Mode, adapted
from warpadam.axes import Coverage, Row, cover, find_axes, own_axes, require, unwrap
from warpadam.reflector import Reflector
from warpadam.refusals import check_gradient, check_options
from warpadam.shapes import AxisKeys, merged_shape
from warpadam.transport import rotations, transport
from warpadam.update import Batch, plan, warp_adam
from warpadam.warp import Matrices, Matrix, Warp

MOMENTS = ("exp_avg", "exp_avg_sq")
_CPU = torch.device("cpu")


class WarpAdam(Optimizer):
    """Adam that sees the gradient through P, and by default takes its step back through Pᵀ.

        ĝ = P g                              g  `param.grad`;  P  `warp`, one matrix per axis: L G Rᵀ for a matrix G
        m ← β1 m + (1-β1) ĝ                  m  `exp_avg`,  β1, β2  `betas`
        v ← β2 v + (1-β2) ĝ²                 v  `exp_avg_sq`
        θ ← θ - η λ θ                        η  `lr`,  λ  `weight_decay`, in the original coordinates
        θ ← θ - η Pᵀ (m̂ / (√v̂ + ε))          ε  `eps`,  m̂ = m / (1-β1ᵗ),  v̂ = v / (1-β2ᵗ),  t  `step`

    `project_back=False` is the paper's rule: the last line without Pᵀ. With P orthogonal the default is exactly Adam in
    rotated coordinates; without a P both are AdamW.
    `nesterov` looks one step ahead (Dozat's NAdam with a constant β1), at no cost in memory:

        m̂ = β1 m / (1-β1ᵗ⁺¹) + (1-β1) ĝ / (1-β1ᵗ)

    `params`: a module, its named parameters, or groups of these with options of their own; plain parameters have no
    names, so no P. `warp`: a Warp or the path of its file. `axes`: parameter name -> key for each axis (fewer keys than
    dimensions: the trailing dimensions are one axis); found by itself for our own models, and by parameter name where P
    has matrices for hidden axes. `strict`: ValueError where no axis found a matrix or where a size differs.
    Parameters below 32 bits keep float32 moments. The moments in a `state_dict` belong to the P they were made under,
    whose digest is stored with them: another P refuses them.
    `adapt`: P goes on adapting to this job's own gradients, on the axes that a family cannot share ("hidden") or on all
    of them ("all"); an `Adaptation` says how (`warpadam.adapt`). It needs `project_back`.
    `fused`: torch's fused kernel for Adam's own part, equal within rounding; None is where it pays, on a GPU. It knows
    no Nesterov momentum: with `nesterov` Adam's part is torch's foreach functions.
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
        nesterov: bool = False,
        adapt: Mode | Adaptation = "none",
        fused: bool | None = None,
    ) -> None:
        self._warp: Warp | None = None
        self._rows: dict[Tensor, Row] = {}
        self._warps: dict[Tensor, list[str | None]] = {}
        self._plans: dict[tuple[Tensor, ...], list[Batch]] = {}
        self._given_axes = axes
        self._strict = strict
        if isinstance(params, nn.Module):
            self._given_axes = own_axes(params) if axes is None else axes
            params = list(unwrap(params).named_parameters())
        defaults = {"lr": lr, "betas": betas, "eps": eps, "weight_decay": weight_decay, "project_back": project_back}
        settings = {"nesterov": nesterov, "adapt": Adaptation.read(adapt).stored(), "fused": fused, "warp": None}
        super().__init__(params, {**defaults, **settings})
        self._bind(warp if warp is None or isinstance(warp, Warp) else Warp.load(warp))

    def add_param_group(self, param_group: dict[str, Any]) -> None:
        if "adapt" in param_group:
            param_group["adapt"] = Adaptation.read(param_group["adapt"]).stored()
        check_options({**self.defaults, **param_group})
        super().add_param_group(param_group)
        if self._warp is not None or self._rows:
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
        adaptation = Adaptation.read(group["adapt"])
        params = [param for param in params if self._prepare(param, adaptation, group)]
        states = [self.state[param] for param in params]
        for state in states:
            state["step"] += 1
        steps = [int(state["step"].item()) for state in states]
        fused = group["fused"]
        warp_adam(
            params,
            [_gradient(param) for param in params],
            exp_avgs=[state["exp_avg"] for state in states],
            exp_avg_sqs=[state["exp_avg_sq"] for state in states],
            steps=steps,
            batches=self._plan(params),
            lr=float(group["lr"]),
            betas=group["betas"],
            eps=group["eps"],
            weight_decay=group["weight_decay"],
            project_back=group["project_back"],
            nesterov=group["nesterov"],
            fused=all(param.is_cuda for param in params) if fused is None else fused,
        )
        if adaptation.axes != "none":
            for param, step in zip(params, steps, strict=True):
                self._adapt(param, step, adaptation, group)

    def _plan(self, params: list[Tensor]) -> list[Batch]:
        """Batches of these parameters, made anew when P has changed or others have a gradient."""
        key = tuple(params)
        if key not in self._plans:
            self._plans = {known: batches for known, batches in self._plans.items() if not set(known) & set(key)}
            self._plans[key] = plan(params, [self._matrices(p) for p in params], [_wide(p) for p in params])
        return self._plans[key]

    def _prepare(self, param: Tensor, adaptation: Adaptation, group: dict[str, Any]) -> bool:
        """Sees that a parameter has its state: AdamW's own, `step` (float32, CPU), `exp_avg`, `exp_avg_sq`, and the
        matrices of the axes that adapt. False where this gradient only begins them."""
        check_gradient(param)
        state: dict[str, Tensor] = self.state[param]
        if not state:
            state["step"] = torch.zeros((), dtype=torch.float32)
            for moment in MOMENTS:
                state[moment] = torch.zeros_like(param, dtype=_wide(param), memory_format=torch.preserve_format)
        missing = [a for a in self._adapted(param, adaptation) if adapting.basis_name(a) not in state]
        if not missing:
            return True
        given = self._given(param)
        sizes = merged_shape(param.shape, self._axes(param))
        for axis in missing:
            matrix = _dense(given[axis]) if given else None
            adapting.start(state, axis, matrix, sizes[axis], state["exp_avg"])
        if adaptation.first != "skip" or not self._blank(param, missing):
            return True
        adapting.observe(state, missing, len(sizes), _gradient(param), _beta(adaptation, group))
        adapting.refresh(state, missing, len(sizes), self._blank(param, missing), adaptation)
        return False

    def _adapt(self, param: Tensor, step: int, adaptation: Adaptation, group: dict[str, Any]) -> None:
        axes = self._adapted(param, adaptation)
        if not axes:
            return
        state, count = self.state[param], self._axes(param)
        adapting.observe(state, axes, count, _gradient(param), _beta(adaptation, group))
        if adaptation.due(step):
            whole = self._blank(param, axes) if adaptation.whole(step) else []
            adapting.refresh(state, axes, count, whole, adaptation)
            self._plans.clear()

    def _adapted(self, param: Tensor, adaptation: Adaptation) -> tuple[int, ...]:
        return adapted(param.shape, self._rows.get(param), adaptation)

    def _blank(self, param: Tensor, axes: Iterable[int]) -> list[int]:
        """Those of the axes for which P has no matrix."""
        given = self._given(param)
        return [axis for axis in axes if not given or given[axis] is None]

    def _given(self, param: Tensor) -> Matrices:
        """What P has for a parameter's axes, as P holds it."""
        keys = self._warps.get(param)
        if keys is None or self._warp is None:
            return ()
        return [None if key is None else self._warp.matrix(key, _CPU, _wide(param)) for key in keys]

    def _matrices(self, param: Tensor) -> Matrices:
        """What is in use: P's, and a parameter's own where it adapts."""
        given = self._given(param)
        own = {int(name[6:]): value for name, value in self.state[param].items() if name.startswith("basis_")}
        if not own:
            return given
        return [own.get(axis, given[axis] if given else None) for axis in range(self._axes(param))]

    def _axes(self, param: Tensor) -> int:
        """How many axes a parameter has: one for each of its keys, or for each dimension."""
        return len(self._rows.get(param, ())) or param.ndim

    @property
    def warp(self) -> Warp | None:
        """The P in use."""
        return self._warp

    def coverage(self) -> Coverage:
        """Which axes found a matrix, and why the others did not. Printable."""
        coverage = self._cover(self._warp)[1]
        named = dict(self._named())
        modes = {p: Adaptation.read(group["adapt"]) for group in self.param_groups for p in group["params"]}
        moving = {(name, axis) for name, param in named.items() for axis in self._adapted(param, modes[param])}
        return Coverage(tuple(replace(a, adapts=(a.parameter, a.axis) in moving) for a in coverage.axes))

    def change_warp(self, new: Warp | None) -> None:
        """Go on under another P: m and v are carried over into its coordinates, never reset.

        With R = P′Pᵀ per axis: m ← R_L m R_Rᵀ and v ← (R_L∘R_L) v (R_R∘R_R)ᵀ. A change by a signed permutation leaves
        every following step as it was. Change at most once in 1/(1-β2) steps: v needs them to forget. A P that `strict`
        refuses changes nothing. Axes that adapt keep the matrices of their own.
        """
        before = {param: self._matrices(param) for param in self.state}
        self._bind(new)
        for param, old in before.items():
            turned = rotations(old, self._matrices(param))
            if turned:
                state = self.state[param]
                there = [None if R is None else R.to(state["exp_avg"]) for R in turned]
                state["exp_avg"], state["exp_avg_sq"] = transport(state["exp_avg"], state["exp_avg_sq"], there)

    def load_state_dict(self, state_dict: StateDict) -> None:
        """Exact: the next steps are those of the optimizer that was saved. ValueError for moments of another P."""
        for saved, own in zip(state_dict["param_groups"], self.param_groups, strict=False):
            if saved.get("warp") != own["warp"]:
                raise ValueError(
                    f"this state was made under warp {saved.get('warp')}, the optimizer has {own['warp']}: "
                    "load it into an optimizer with that warp, then call change_warp"
                )
        super().load_state_dict(state_dict)
        self._plans.clear()
        # The base class rounds moments to the parameter's type, float32 or not, and shares `step` with what was loaded.
        saved_ids = [index for group in state_dict["param_groups"] for index in group["params"]]
        for index, param in zip(saved_ids, self._parameters(), strict=True):
            for name, value in state_dict["state"].get(index, {}).items():
                if name in MOMENTS or adapting.is_own(name):
                    self.state[param][name] = value.to(device=param.device, dtype=_wide(param), copy=True)
                elif name == "step":
                    self.state[param][name] = torch.as_tensor(value, dtype=torch.float32, device="cpu").clone()

    def __getstate__(self) -> dict[str, Any]:
        own = ("_warp", "_rows", "_warps", "_given_axes", "_strict")
        return {**super().__getstate__(), **{name: getattr(self, name) for name in own}, "_plans": {}}

    def __setstate__(self, state: dict[str, Any]) -> None:
        super().__setstate__(state)
        for group in self.param_groups:  # a state_dict of AdamW has none of them
            group.setdefault("project_back", True)
            group.setdefault("nesterov", False)
            group.setdefault("adapt", Adaptation(axes="none").stored())
            group.setdefault("fused", None)
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
        self._plans.clear()
        self._rows = {named[name]: row for name, row in axes.items()}
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


def _gradient(param: Tensor) -> Tensor:
    assert param.grad is not None
    return param.grad


def _beta(adaptation: Adaptation, group: dict[str, Any]) -> float:
    return float(group["betas"][1]) if adaptation.beta is None else adaptation.beta


def _dense(matrix: Matrix | None) -> Tensor | None:
    return matrix.dense() if isinstance(matrix, Reflector) else matrix
