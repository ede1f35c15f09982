"""`WarpAdam(adapt=…)` over a stack: P goes on adapting within each run, by runs of their own (`warpadam.adapt`)."""

from collections.abc import Mapping, Sequence

import torch
from torch import Tensor

from benchmarks.convergence.updates import Adam, Nesterov, Stacked, rotate, wide
from warpadam.adapt import Adaptation, Mode, adapted
from warpadam.warp import Matrices


class Adapting(Adam):
    """Adam in a basis per run that begins at P and moves on every `every` steps; m and v are carried along.

    Bases are kept as columns, (S, n, n), None where an axis has none.
    """

    def __init__(self, stacked: Stacked, axes: Mode = "hidden") -> None:
        super().__init__(stacked)
        self.how = Adaptation(axes=axes)
        self.moving: dict[str, tuple[int, ...]] = {}
        self.bases: dict[str, list[Tensor | None]] = {}
        self.grams: dict[str, dict[int, Tensor]] = {}
        for name, weight in stacked.weights.items():
            row = stacked.axes.get(name)
            self.moving[name] = adapted(weight.shape[1:], None if row is None else tuple(row), self.how)
            count = len(row) if row else weight.ndim - 1
            shape = weight.flatten(count).shape[1:]
            self.bases[name] = self._first(stacked.warps.get(name, ()), shape, self.moving[name], len(weight))
            self.grams[name] = {
                axis: weight.new_zeros(len(weight), shape[axis], shape[axis]) for axis in self.moving[name]
            }
        self.blank = {
            name: [axis for axis in axes_ if not stacked.warps.get(name) or stacked.warps[name][axis] is None]
            for name, axes_ in self.moving.items()
        }

    def _first(self, P: Matrices, shape: Sequence[int], moving: Sequence[int], runs: int) -> list[Tensor | None]:
        found: list[Tensor | None] = []
        for axis, size in enumerate(shape):
            matrix = P[axis] if P else None
            if matrix is None and axis not in moving:
                found.append(None)
            else:
                columns = torch.eye(size) if matrix is None else _tensor(matrix).mT
                found.append(columns.expand(runs, size, size).clone())
        return found

    def step(self, gradients: Mapping[str, Tensor], lr: Tensor, active: int) -> None:
        self.t += 1
        for name, full in gradients.items():
            weight, m, v = (self._folded(name, t[name][:active]) for t in (self.stacked.weights, self.m, self.v))
            gradient = self._folded(name, full)
            Q = [None if basis is None else basis[:active] for basis in self.bases[name]]
            seen = turned(gradient, Q)
            b1, b2 = wide(self.beta1[:active], weight), wide(self.beta2[:active], weight)
            m.lerp_(seen, 1 - b1)
            v.mul_(b2).add_(seen.square().mul_(1 - b2))
            root = wide((1 - self.beta2[:active] ** self.t).sqrt(), weight)
            update = self.direction(seen, m, active).div_((v.sqrt() / root).add_(1e-8))
            weight.mul_(wide(1 - lr * self.decay[:active], weight))
            weight.sub_(turned(update, Q, back=True) * wide(lr, weight))
            if self.moving[name]:
                self._observe(name, gradient, active)
                if self.how.due(self.t):
                    self._renew(name, m, v, active)

    def _folded(self, name: str, tensor: Tensor) -> Tensor:
        return tensor.flatten(len(self.bases[name]))

    def _observe(self, name: str, gradient: Tensor, active: int) -> None:
        b2 = self.beta2[:active].to(gradient.dtype).view(-1, 1, 1)
        for axis, C in self.grams[name].items():
            unfolded = gradient.movedim(axis + 1, 1).flatten(2)
            C[:active].mul_(b2).add_((unfolded @ unfolded.mT).mul_(1 - b2))

    def _renew(self, name: str, m: Tensor, v: Tensor, active: int) -> None:
        turns: list[Tensor | None] = [None] * len(self.bases[name])
        for axis, C in self.grams[name].items():
            basis = self.bases[name][axis]
            assert basis is not None
            whole = axis in self.blank[name] and self.how.whole(self.t)
            new = (
                _eigenvectors(C[:active], basis[:active], self.how.damping)
                if whole
                else self._iterate(C[:active], basis[:active])
            )
            turns[axis] = basis[:active].mT @ new  # columns: Rᵀ of `warpadam.transport`
            basis[:active] = new
        m.copy_(turned(m, turns))
        v.copy_(turned(v, [None if R is None else R.square() for R in turns]))

    def _iterate(self, C: Tensor, basis: Tensor) -> Tensor:
        size = C.diagonal(dim1=1, dim2=2).mean(1).clamp_min(torch.finfo(C.dtype).tiny)
        Q: Tensor = torch.linalg.qr((C / size.view(-1, 1, 1)) @ basis + self.how.damping * basis).Q
        return Q


class AdaptingNesterov(Adapting):
    """The same with Nesterov's momentum."""

    direction = Nesterov.direction


def turned(tensor: Tensor, bases: Sequence[Tensor | None], *, back: bool = False) -> Tensor:
    """As `rotate`, axes without a basis left out. A new tensor where nothing turns, too."""
    if not any(basis is not None for basis in bases):
        return tensor.clone()
    for axis, Q in enumerate(bases):
        if Q is not None:
            moved = rotate(tensor.movedim(axis + 1, 1), [Q], back=back)
            tensor = moved.movedim(1, axis + 1)
    return tensor


def _eigenvectors(C: Tensor, basis: Tensor, damping: float) -> Tensor:
    kept = basis.double() * torch.linspace(2, 1, C.shape[-1], dtype=torch.float64) @ basis.double().mT
    size = C.double().diagonal(dim1=1, dim2=2).mean(1).view(-1, 1, 1)
    vectors: Tensor = torch.linalg.eigh(C.double() + damping * size * kept).eigenvectors
    return vectors.flip(-1).to(C.dtype)


def _tensor(matrix: object) -> Tensor:
    assert isinstance(matrix, Tensor)
    return matrix
