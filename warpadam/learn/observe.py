"""What a worker observes of its gradients. Needs torch; the rest of `warpadam.learn` does not.

Under data parallelism every rank sees the same all-reduced gradient, so the keys are split over the ranks by cost, and
each key counts once. World size 1 is the same code with one share.
"""

from collections.abc import Iterable, Iterator, Mapping
from math import isfinite, prod

import numpy as np
import torch
from torch import Tensor

from warpadam.learn import sketch
from warpadam.learn.packed import Packed, next_name, pack
from warpadam.shapes import AxisKeys, key_size, merged_shape


class CovarianceObserver:
    """Adds unfold(G) unfold(G)ᵀ / ‖G‖² to its key's sum, for every axis that has a key, each `every`-th call.

    The gradient is the one that `step()` gets: all-reduced, accumulated, unscaled, before P and decay. One that is zero
    or not finite adds nothing and is counted. Sums are float64 on the gradient's device, rounded once by `take`.
    """

    def __init__(self, axis_keys: AxisKeys, *, rank: int = 0, world_size: int = 1, every: int = 1) -> None:
        if not 0 <= rank < world_size:
            raise ValueError(f"rank must be from 0 to {world_size - 1}, not {rank}")
        if every < 1:
            raise ValueError(f"every must be at least 1, not {every}")
        self.keys = _share(axis_keys, rank, world_size)
        self._axis_keys = {
            name: tuple(key if key in self.keys else None for key in row)
            for name, row in axis_keys.items()
            if any(key in self.keys for key in row)
        }
        # A gradient that is left out is counted by the one rank that owns the first of its keys.
        self._counted = {name for name, row in axis_keys.items() if next(filter(None, row), None) in self.keys}
        self._every = every
        self._calls = 0
        self._sums: dict[str, Tensor] = {}
        self._skipped = 0

    @torch.no_grad()
    def observe(self, named_gradients: Iterable[tuple[str, Tensor]], weight: float = 1.0) -> None:
        """One step's gradients by parameter name; names without a key are passed over. `weight`: 0 to 1."""
        if self._is_due() and weight > 0:
            for name, unit in self._units(named_gradients):
                for axis, key in self._axes(name):
                    self._add(key, self._product(key, _unfold(unit, axis)), weight)

    def take(self) -> tuple[dict[str, Packed], int]:
        """The packed sum of each key in this rank's share, and the number of gradients left out, since last time."""
        sums = {name: self._packed(name, key) for key in self.keys for name in self._names(key)}
        skipped = self._skipped
        self._sums, self._skipped = {}, 0
        return sums, skipped

    def _product(self, key: str, unfolded: Tensor) -> Tensor:
        """What a unit gradient adds to the sum of a key; `unfolded` is (size, columns)."""
        return unfolded @ unfolded.T

    def _names(self, key: str) -> tuple[str, ...]:
        """The names of a key's sums."""
        return (key,)

    def _packed(self, name: str, key: str) -> Packed:
        if name in self._sums:
            return pack(self._sums[name].cpu().numpy())
        return pack(np.zeros((key_size(key), key_size(key))))

    def _is_due(self) -> bool:
        self._calls += 1
        return (self._calls - 1) % self._every == 0

    def _axes(self, name: str) -> Iterator[tuple[int, str]]:
        return ((axis, key) for axis, key in enumerate(self._axis_keys[name]) if key is not None)

    def _units(self, named_gradients: Iterable[tuple[str, Tensor]]) -> Iterator[tuple[str, Tensor]]:
        """The gradients that have a key, of norm 1 and with their axes merged, float32; counts what is left out."""
        found = [(name, gradient) for name, gradient in named_gradients if name in self._axis_keys]
        if not found:
            return
        # One transfer for all norms: on a GPU each single one would wait for the device.
        device = found[0][1].device
        norms = torch.stack([torch.linalg.vector_norm(g, dtype=torch.float64).to(device) for _, g in found]).tolist()
        for (name, gradient), norm in zip(found, norms, strict=True):
            if norm > 0 and isfinite(norm):
                yield name, _unit(gradient, norm, len(self._axis_keys[name]))
            else:
                self._skipped += name in self._counted

    def _add(self, name: str, product: Tensor, weight: float) -> None:
        self._sums.setdefault(name, torch.zeros_like(product, dtype=torch.float64)).add_(product, alpha=weight)


class PairObserver(CovarianceObserver):
    """Adds beside it (H Gᵀ + G Hᵀ)/2 of each unit gradient G and the next one, H: what `hypergradient` learns from.

    Between two calls it keeps the gradients of its share, float32. Pairs are always of neighbouring calls.
    """

    def __init__(self, axis_keys: AxisKeys, *, rank: int = 0, world_size: int = 1, every: int = 1) -> None:
        super().__init__(axis_keys, rank=rank, world_size=world_size, every=every)
        self._last: dict[str, Tensor] = {}

    @torch.no_grad()
    def observe(self, named_gradients: Iterable[tuple[str, Tensor]], weight: float = 1.0) -> None:
        due, last, self._last = self._is_due() and weight > 0, self._last, {}
        if not (due or last):
            return
        for name, unit in self._units(named_gradients):
            for axis, key in self._axes(name):
                unfolded = _unfold(unit, axis)
                if due:
                    self._add(key, unfolded @ unfolded.T, weight)
                if name in last:
                    product = unfolded @ _unfold(last[name], axis).T
                    self._add(next_name(key), 0.5 * (product + product.T), weight)
            if due:
                self._last[name] = unit

    def _names(self, key: str) -> tuple[str, ...]:
        return key, next_name(key)


class SketchObserver(CovarianceObserver):
    """Adds U (Uᵀ Ω) instead of U Uᵀ, for axes too long for a square matrix (`warpadam.learn.sketch`).

    Its sums are (n, columns) and merge by `packed.add`. It costs 4 · columns operations for each entry of a gradient.
    """

    def __init__(
        self, axis_keys: AxisKeys, *, columns: int, rank: int = 0, world_size: int = 1, every: int = 1
    ) -> None:
        super().__init__(axis_keys, rank=rank, world_size=world_size, every=every)
        self._omegas = {key: torch.from_numpy(sketch.omega(key, key_size(key), columns)) for key in self.keys}

    def _product(self, key: str, unfolded: Tensor) -> Tensor:
        if self._omegas[key].device != unfolded.device:
            self._omegas[key] = self._omegas[key].to(unfolded.device)
        return unfolded @ (unfolded.T @ self._omegas[key])

    def _packed(self, name: str, key: str) -> Packed:
        zero = torch.zeros_like(self._omegas[key], dtype=torch.float64)
        return sketch.pack(self._sums.get(name, zero).cpu().numpy())


def _unit(gradient: Tensor, norm: float, axes: int) -> Tensor:
    """G / ‖G‖, float32, trailing dimensions merged.

    Divided before it is squared, so that a gradient of 1e-30 does not vanish there, nor one of 1e30 overflow; in
    float64 only where the norm itself comes near the limits of float32.
    """
    plain = 1e-30 < norm < 1e30 and gradient.dtype != torch.float64
    G = gradient.detach().float() if plain else gradient.detach().double()
    return (G / norm).float().reshape(merged_shape(gradient.shape, axes))


def _unfold(unit: Tensor, axis: int) -> Tensor:
    return unit.movedim(axis, 0).reshape(unit.shape[axis], -1)


def _share(axis_keys: AxisKeys, rank: int, world_size: int) -> tuple[str, ...]:
    """This rank's keys: the most expensive first, each to the rank with the least to do so far."""
    loads = [0] * world_size
    mine: list[str] = []
    for key, cost in sorted(_costs(axis_keys).items(), key=lambda item: (-item[1], item[0])):
        lightest = loads.index(min(loads))
        loads[lightest] += cost
        if lightest == rank:
            mine.append(key)
    return tuple(sorted(mine))


def _costs(axis_keys: AxisKeys) -> Mapping[str, int]:
    """Key -> multiplications of its products, as far as the keys name the sizes of the other axes."""
    costs: dict[str, int] = {}
    for row in axis_keys.values():
        known = prod(key_size(key) for key in row if key is not None)
        for key in row:
            if key is not None:
                costs[key] = costs.get(key, 0) + known * key_size(key)
    return costs
