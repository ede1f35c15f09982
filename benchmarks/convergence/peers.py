"""Optimizers from packages, one a run, on views into the stack: nothing of theirs is rewritten.

torch: Muon (with AdamW beside it, as its documentation says). pytorch-optimizer: SOAP, Shampoo. schedulefree: AdamW.
"""

from collections.abc import Callable, Mapping
from importlib.metadata import PackageNotFoundError, version
from typing import Any

import torch
from torch import Tensor, nn
from torch.optim import Optimizer

from benchmarks.convergence.grid import Setting
from benchmarks.convergence.updates import FREQUENCY, Stacked

Named = Mapping[str, Tensor]
Make = Callable[[Named, Setting, Stacked], list[Optimizer]]


class Packaged:
    """Any `torch.optim.Optimizer` as an update of a stack."""

    def __init__(self, stacked: Stacked, make: Make) -> None:
        self.parameters = [
            {name: nn.Parameter(weight[run]) for name, weight in stacked.weights.items()}
            for run in range(len(stacked.settings))
        ]
        for run, named in enumerate(self.parameters):
            for name, parameter in named.items():
                parameter.data = stacked.weights[name][run]  # a view: the package's steps are seen in the stack
        self.optimizers = [
            make(named, setting, stacked) for named, setting in zip(self.parameters, stacked.settings, strict=True)
        ]

    def step(self, gradients: Mapping[str, Tensor], lr: Tensor, active: int) -> None:
        for run, now in enumerate(lr[:active].tolist()):
            for name, parameter in self.parameters[run].items():
                parameter.grad = gradients[name][run]
            for optimizer in self.optimizers[run]:
                for group in optimizer.param_groups:
                    group["lr"] = now
                optimizer.step()

    def settle(self, run: int) -> None:
        for optimizer in self.optimizers[run]:
            if hasattr(optimizer, "eval"):  # schedule-free: from where gradients are taken to the average
                optimizer.eval()


def soap(named: Named, setting: Setting, stacked: Stacked) -> list[Optimizer]:
    from pytorch_optimizer import SOAP

    return [
        SOAP(
            list(named.values()),
            lr=setting.lr,
            betas=(setting.beta1, setting.beta2),
            weight_decay=setting.weight_decay,
            precondition_frequency=FREQUENCY,
        )
    ]


def shampoo(named: Named, setting: Setting, stacked: Stacked) -> list[Optimizer]:
    """The package's scalable one, freed of defaults that are made for long runs: it preconditions from the first step,
    renews its roots every 10 steps, not every 1000, and takes the size of its steps from RMSProp."""
    from pytorch_optimizer import ScalableShampoo
    from pytorch_optimizer.optimizer.utils.graft import LayerWiseGrafting

    return [
        ScalableShampoo(
            list(named.values()),
            lr=setting.lr,
            betas=(setting.beta1, setting.beta2),
            weight_decay=setting.weight_decay,
            decoupled_weight_decay=True,
            moving_average_for_momentum=True,
            start_preconditioning_step=FREQUENCY,
            preconditioning_compute_steps=FREQUENCY,
            graft_type=LayerWiseGrafting.RMSPROP,
        )
    ]


def muon(named: Named, setting: Setting, stacked: Stacked) -> list[Optimizer]:
    """Weight matrices by Muon, a kernel as the matrix of its flattened taps; embeddings, head, norms and biases by
    AdamW. Steps are scaled to AdamW's size, so that one learning rate is both's; β2 is AdamW's."""
    matrices = {name: weight for name, weight in named.items() if is_hidden_matrix(name, weight, named)}
    others = [weight for name, weight in named.items() if name not in matrices]
    return [
        _FlatMuon(
            list(matrices.values()), lr=setting.lr, weight_decay=setting.weight_decay, adjust_lr_fn="match_rms_adamw"
        ),
        torch.optim.AdamW(
            others, lr=setting.lr, betas=(setting.beta1, setting.beta2), weight_decay=setting.weight_decay
        ),
    ]


def is_hidden_matrix(name: str, weight: Tensor, named: Named) -> bool:
    """Whether Muon's authors would give it this weight: every matrix but embeddings and the last layer."""
    last = [other for other in named if other.endswith("weight") and named[other].ndim > 1][-1]
    return weight.ndim > 1 and name != last and not name.startswith(("tokens", "positions"))


class _FlatMuon(torch.optim.Muon):
    """torch's Muon, which takes matrices only, on (out, in · taps) views of kernels."""

    def __init__(self, weights: list[Tensor], **options: Any) -> None:
        self._whole = weights
        self._flat = [nn.Parameter(weight.data.flatten(1)) for weight in weights]
        for flat, weight in zip(self._flat, weights, strict=True):
            flat.data = weight.data.flatten(1)
        super().__init__(self._flat, **options)

    def step(self, closure: None = None) -> None:  # type: ignore[override]  # the benchmark has no closures
        for flat, weight in zip(self._flat, self._whole, strict=True):
            flat.grad = None if weight.grad is None else weight.grad.flatten(1)
        super().step()  # type: ignore[no-untyped-call]  # torch has no types there


def schedule_free(named: Named, setting: Setting, stacked: Stacked) -> list[Optimizer]:
    """Without a schedule, as it is meant; warm-up comes from the grid."""
    from schedulefree import AdamWScheduleFree

    made = AdamWScheduleFree(
        list(named.values()),
        lr=setting.lr,
        betas=(setting.beta1, setting.beta2),
        weight_decay=setting.weight_decay,
    )
    made.train()
    return [made]


def versions() -> dict[str, str]:
    """The packages that the peers come from; "absent" where one is not installed."""
    found = {}
    for package in ("torch", "pytorch-optimizer", "schedulefree"):
        try:
            found[package] = version(package)
        except PackageNotFoundError:
            found[package] = "absent"
    return found
