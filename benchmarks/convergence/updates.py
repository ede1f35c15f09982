"""Optimizers over stacks: parameters (S, *shape), each of the S with its own learning rate, betas and weight decay.

`Adam` is `torch.optim.AdamW` and, with a P, `warpadam.WarpAdam`; `NAdam` is torch's. Tests hold them to those, step by
step. `Soap` and `Shampoo` are references written from their papers, beside the packages in `peers`.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Protocol

import torch
from torch import Tensor

from benchmarks.convergence.grid import Setting
from warpadam.warp import Matrices, turn

EPS = 1e-8
FREQUENCY = 10
"""Steps between two bases of SOAP and two roots of Shampoo: both papers' default."""


class Update(Protocol):
    """An optimizer of a stack. Runs end from the back of the stack: the first `active` of them go on."""

    def step(self, gradients: Mapping[str, Tensor], lr: Tensor, active: int) -> None:
        """One step of the first `active` runs, in place; gradients (active, *shape), lr (active,)."""
        ...

    def settle(self, run: int) -> None:
        """Brings the weights of a run that has ended to those that it is judged by."""
        ...


@dataclass(frozen=True, eq=False)
class Stacked:
    """What an update is made of: the weights (changed in place) and the setting of each run; P per parameter."""

    weights: Mapping[str, Tensor]
    settings: Sequence[Setting]
    warps: Mapping[str, Matrices]
    axes: Mapping[str, Sequence[str | None]]

    def column(self, name: str) -> Tensor:
        """(S,): one hyperparameter of every run."""
        return torch.tensor([getattr(setting, name) for setting in self.settings], dtype=torch.float64)


def wide(values: Tensor, like: Tensor) -> Tensor:
    """(S,) -> (S, 1, ...), of the type of `like`."""
    return values.to(like.dtype).view(-1, *[1] * (like.ndim - 1))


def turn_stack(stack: Tensor, P: Matrices, *, transpose: bool = False) -> Tensor:
    """One P for every member of a stack (S, *shape)."""
    return turn(stack, (None, *P), transpose=transpose) if P else stack


class Adam:
    """θ ← θ - η λ θ - η Pᵀ (m̂ / (√v̂ + ε)), with ĝ = P g in the moments; `project_back=False` is without Pᵀ."""

    def __init__(self, stacked: Stacked, *, project_back: bool = True) -> None:
        self.stacked, self.project_back, self.t = stacked, project_back, 0
        self.m = {name: torch.zeros_like(weight) for name, weight in stacked.weights.items()}
        self.v = {name: torch.zeros_like(weight) for name, weight in stacked.weights.items()}
        self.beta1, self.beta2 = stacked.column("beta1"), stacked.column("beta2")
        self.decay = stacked.column("weight_decay")

    def settle(self, run: int) -> None:
        pass

    def step(self, gradients: Mapping[str, Tensor], lr: Tensor, active: int) -> None:
        self.t += 1
        for name, gradient in gradients.items():
            weight, m, v = (table[name][:active] for table in (self.stacked.weights, self.m, self.v))
            P = self.stacked.warps.get(name, ())
            seen = turn_stack(gradient, P)
            b1, b2 = wide(self.beta1[:active], weight), wide(self.beta2[:active], weight)
            m.lerp_(seen, 1 - b1)
            v.mul_(b2).add_(seen.square().mul_(1 - b2))
            root = wide((1 - self.beta2[:active] ** self.t).sqrt(), weight)
            update = self.direction(seen, m, active).div_((v.sqrt() / root).add_(EPS))
            back = turn_stack(update, P, transpose=True) if self.project_back else update
            weight.mul_(wide(1 - lr * self.decay[:active], weight)).sub_(back.mul_(wide(lr, weight)))

    def direction(self, gradient: Tensor, m: Tensor, active: int) -> Tensor:
        """m̂, new."""
        return m / wide(1 - self.beta1[:active] ** self.t, m)


class Nesterov(Adam):
    """Adam that looks a step ahead, `warpadam.WarpAdam(nesterov=True)`: m̂ ← β1 m / (1-β1ᵗ⁺¹) + (1-β1) ĝ / (1-β1ᵗ)."""

    def direction(self, gradient: Tensor, m: Tensor, active: int) -> Tensor:
        beta1 = self.beta1[:active]
        ahead = beta1 / (1 - beta1 ** (self.t + 1))
        now = (1 - beta1) / (1 - beta1**self.t)
        return m * wide(ahead, m) + gradient * wide(now, m)


class NAdam(Adam):
    """Adam with Nesterov's momentum, whose weight grows over the run (ψ = 0.004), as `torch.optim.NAdam`."""

    def __init__(self, stacked: Stacked) -> None:
        super().__init__(stacked)
        self.product = torch.ones_like(self.beta1)

    def step(self, gradients: Mapping[str, Tensor], lr: Tensor, active: int) -> None:
        self.mu = self.beta1 * (1 - 0.5 * 0.96 ** ((self.t + 1) * 0.004))
        self.next = self.beta1 * (1 - 0.5 * 0.96 ** ((self.t + 2) * 0.004))
        self.product = self.product * self.mu
        super().step(gradients, lr, active)

    def direction(self, gradient: Tensor, m: Tensor, active: int) -> Tensor:
        now = ((1 - self.mu) / (1 - self.product))[:active]
        later = (self.next / (1 - self.product * self.next))[:active]
        return gradient * wide(now, m) + m * wide(later, m)


class _Factored(Adam):
    """Running sums of unfold(G) unfold(G)ᵀ per run and axis, on every axis of a parameter of two or more."""

    def __init__(self, stacked: Stacked) -> None:
        super().__init__(stacked)
        self.sums: dict[str, list[Tensor]] = {}

    def observe(self, name: str, gradient: Tensor, active: int) -> None:
        """C ← β2 C + (1-β2) unfold(G) unfold(G)ᵀ; gradient (S, *axes)."""
        b2 = self.beta2[:active].to(gradient.dtype).view(-1, 1, 1)
        if name not in self.sums:
            self.sums[name] = [gradient.new_zeros(len(gradient), n, n) for n in gradient.shape[1:]]
        for axis, total in enumerate(self.sums[name]):
            unfolded = gradient.movedim(axis + 1, 1).flatten(2)
            total[:active].mul_(b2).add_((unfolded @ unfolded.mT).mul_(1 - b2))


class Soap(_Factored):
    """SOAP (Vyas et al., arXiv 2409.11321): Adam in the eigenbasis of Shampoo's statistics, on every axis.

    The basis comes from the first gradient, with which this reference also steps (the authors' code spends it), and
    every 10 steps from one round of power iteration and QR. m is kept in the original coordinates, v in the basis.
    """

    def __init__(self, stacked: Stacked) -> None:
        super().__init__(stacked)
        self.bases: dict[str, list[Tensor]] = {}

    def step(self, gradients: Mapping[str, Tensor], lr: Tensor, active: int) -> None:
        self.t += 1
        for name, full in gradients.items():
            weight, m, v = (self._folded(name, t[name][:active]) for t in (self.stacked.weights, self.m, self.v))
            gradient = self._folded(name, full)
            if gradient.ndim > 2 and self.t == 1:
                self.observe(name, gradient, active)
                self.bases[name] = [torch.linalg.eigh(C).eigenvectors.flip(-1) for C in self.sums[name]]
            Q = [basis[:active] for basis in self.bases.get(name, ())]
            b1, b2 = wide(self.beta1[:active], weight), wide(self.beta2[:active], weight)
            m.lerp_(gradient, 1 - b1)
            v.mul_(b2).add_(rotate(gradient, Q).square_().mul_(1 - b2))
            root = wide((1 - self.beta2[:active] ** self.t).sqrt(), weight)
            update = self.direction(gradient, rotate(m, Q), active).div_((v.sqrt() / root).add_(EPS))
            weight.mul_(wide(1 - lr * self.decay[:active], weight))
            weight.sub_(rotate(update, Q, back=True).mul_(wide(lr, weight)))
            if Q and self.t > 1:
                self.observe(name, gradient, active)
            if Q and self.t % FREQUENCY == 0:
                self._renew(name, v, active)

    def _folded(self, name: str, tensor: Tensor) -> Tensor:
        """A view with the axes that the parameter's keys speak of: a kernel's taps are one."""
        count = len(self.stacked.axes.get(name, ()))
        return tensor.flatten(count) if count else tensor

    def _renew(self, name: str, v: Tensor, active: int) -> None:
        for axis, (C, Q) in enumerate(zip(self.sums[name], self.bases[name], strict=True)):
            product = C[:active] @ Q[:active]
            order = (Q[:active] * product).sum(1).argsort(-1, descending=True)
            places = wide_index(order, v, axis + 1)
            v.copy_(v.gather(axis + 1, places))
            sorted_product = product.gather(2, order[:, None].expand_as(product))
            Q[:active] = torch.linalg.qr(sorted_product).Q


def wide_index(order: Tensor, like: Tensor, axis: int) -> Tensor:
    """(S, n) places along `axis`, spread over the shape of `like`."""
    shape = [len(order), *[1] * (like.ndim - 1)]
    shape[axis] = order.shape[1]
    return order.view(shape).expand_as(like)


def rotate(tensor: Tensor, bases: Sequence[Tensor], *, back: bool = False) -> Tensor:
    """Qᵀ along each axis of (S, *axes), or Q on the way back; each Q is (S, n, n). A new tensor."""
    turned = tensor.clone() if not bases else tensor
    for axis, Q in enumerate(bases):
        moved = turned.movedim(axis + 1, 1)
        turned = ((Q if back else Q.mT) @ moved.flatten(2)).view(moved.shape).movedim(1, axis + 1)
    return turned


class Shampoo(_Factored):
    """Shampoo grafted to Adam, as Meta trains with it (Shi et al., arXiv 2309.06497): per tensor the direction of
    Π Cₐ^(-1/2k) m̂ over its k axes, the norm of Adam's step. Roots are new every 10 steps."""

    def __init__(self, stacked: Stacked) -> None:
        super().__init__(stacked)
        self.roots: dict[str, list[Tensor]] = {}

    def step(self, gradients: Mapping[str, Tensor], lr: Tensor, active: int) -> None:
        for name, full in gradients.items():
            axes = len(self.stacked.axes.get(name, ()))
            if axes > 1:
                gradient = full.flatten(axes)
                self.observe(name, gradient, active)
                if self.t % FREQUENCY == 0:
                    self.roots[name] = [root(C[:active], 2 * axes) for C in self.sums[name]]
        before = {name: self.stacked.weights[name][:active].clone() for name in self.roots}
        super().step(gradients, lr, active)
        for name, old in before.items():
            self._graft(name, old, lr, active)

    def _graft(self, name: str, old: Tensor, lr: Tensor, active: int) -> None:
        """Replaces the step that Adam made by one of the same norm in Shampoo's direction."""
        weight = self.stacked.weights[name][:active]
        decayed = old.mul_(wide(1 - lr * self.decay[:active], old))
        length = (weight - decayed).flatten(1).norm(dim=1)
        m = self.m[name][:active].flatten(len(self.stacked.axes[name]))
        direction = rotate(m, [power[:active] for power in self.roots[name]]).view_as(weight)
        size = length / direction.flatten(1).norm(dim=1).clamp_min(1e-30)
        weight.copy_(decayed - direction * wide(size, weight))


def root(C: Tensor, order: int) -> Tensor:
    """C^(-1/order) of symmetric (S, n, n), with 1e-6 of the largest eigenvalue added."""
    values, vectors = torch.linalg.eigh(C)
    ridge = 1e-6 * values[:, -1:].clamp_min(1e-30)
    power: Tensor = (vectors * (values.clamp_min(0) + ridge)[:, None].pow(-1 / order)) @ vectors.mT
    return power
