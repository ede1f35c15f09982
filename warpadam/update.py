"""The update as a pure function of lists of tensors: `warp_adam`, in batches of parameters.

Without a P, or with P = I, it is `torch.optim.AdamW`: the same operations in the same order, bit for bit where
`foreach=False` is (CPU, float32, not fused).

A batch is what goes through all operations together. On a CPU it is small enough to stay in the cache between them;
on a GPU large enough to keep it busy. Parameters of one shape are turned by one product of stacked matrices where
single products are so small that starting them is what costs.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from warpadam.reflector import Reflector
from warpadam.warp import Matrices, Matrix, turn, turn_stacked

CPU_BATCH = 2**18
"""Numbers in a batch: 1 MiB of float32 for each of θ, g, m and v."""
CPU_STACK = 2**15
"""A parameter of more numbers than this is turned alone: its products are long enough."""
GPU_BATCH = 2**24


@dataclass(frozen=True)
class Batch:
    """Parameters, by their indices, that go through the update together.

    `matrices`: for one parameter those of its axes; for several each is shared by all (n, n), or has one for each
    (k, n, n). () is the identity.
    """

    indices: tuple[int, ...]
    matrices: Matrices


def plan(params: Sequence[Tensor], warps: Sequence[Matrices], dtypes: Sequence[torch.dtype]) -> list[Batch]:
    """Batches for these parameters, their matrices on the parameters' devices and in the given types.

    It holds as long as the parameters' shapes and the matrices do. Matrices that are one object are copied once.
    """
    placed: dict[tuple[int, torch.device, torch.dtype], tuple[Matrix, Matrix]] = {}  # the first keeps its id taken
    batches: list[Batch] = []
    for indices in _together(params, warps, dtypes):
        device, dtype = params[indices[0]].device, dtypes[indices[0]]
        stacked: list[Matrix | None] = []
        for matrix in _stacked([warps[i] for i in indices]):
            key = (id(matrix), device, dtype)
            if matrix is not None and key not in placed:
                placed[key] = matrix, matrix.to(device, dtype)
            stacked.append(None if matrix is None else placed[key][1])
        batches.append(Batch(tuple(indices), stacked))
    return batches


def _together(
    params: Sequence[Tensor], warps: Sequence[Matrices], dtypes: Sequence[torch.dtype]
) -> Iterator[list[int]]:
    """Indices of alike parameters, as many as make up a batch, in order of the first."""
    groups: dict[object, list[int]] = {}
    for i, (param, warp, dtype) in enumerate(zip(params, warps, dtypes, strict=True)):
        groups.setdefault(_alike(i, param, warp, dtype), []).append(i)
    for group in groups.values():
        most = CPU_BATCH if params[group[0]].device.type == "cpu" else GPU_BATCH
        batch: list[int] = []
        size = 0
        for i in group:
            if batch and size + params[i].numel() > most:
                yield batch
                batch, size = [], 0
            batch.append(i)
            size += params[i].numel()
        yield batch


def _alike(index: int, param: Tensor, warp: Matrices, dtype: torch.dtype) -> object:
    """Equal for parameters that may be in one batch."""
    place = (param.device, param.dtype, dtype)
    if not any(matrix is not None for matrix in warp):
        return place
    alone = param.device.type == "cpu" and param.numel() > CPU_STACK
    # Reflectors are not stacked: only parameters that share theirs are turned together.
    axes = tuple(id(M) if isinstance(M, Reflector) else M is not None for M in warp)
    return (place, tuple(param.shape), axes, index if alone else None)


def _stacked(warps: Sequence[Matrices]) -> Matrices:
    """Per axis the matrix that all share, or theirs stacked; () where none has any."""
    if not any(matrix is not None for matrix in warps[0]):
        return ()
    return [
        column[0]
        if all(matrix is column[0] for matrix in column)
        else torch.stack([matrix for matrix in column if isinstance(matrix, Tensor)])
        for column in zip(*warps, strict=True)
    ]


def warp_adam(
    params: Sequence[Tensor],  # θ, any real floating-point type
    gradients: Sequence[Tensor],  # g, of the same shapes
    *,
    exp_avgs: Sequence[Tensor],  # m, in P's coordinates, float32 or float64; changed in place
    exp_avg_sqs: Sequence[Tensor],  # v, as m
    steps: Sequence[int],  # t, this step included: 1 in the first
    batches: Sequence[Batch],  # from `plan`, P in them
    lr: float,
    betas: tuple[float, float],
    eps: float,
    weight_decay: float,
    project_back: bool,
    nesterov: bool = False,
    fused: bool = False,
) -> None:
    """One step of WarpAdam (the equations are in the class), in place.

    `fused`: Adam's own part by torch's fused kernel, one pass over memory instead of seven; equal within rounding. The
    kernel knows no Nesterov momentum, so with `nesterov` it is not used.
    """
    rule = _Rule(lr, *betas, eps, weight_decay, project_back, nesterov)
    update = _update_fused if fused and not nesterov else _update
    for batch in batches:
        chosen = batch.indices
        wide = [params[i].to(exp_avgs[i].dtype) for i in chosen]  # the parameter itself, unless it is below 32 bits
        turned = _turn([gradients[i].to(exp_avgs[i].dtype) for i in chosen], batch)
        moments = [exp_avgs[i] for i in chosen], [exp_avg_sqs[i] for i in chosen]
        update(wide, turned, *moments, [steps[i] for i in chosen], batch, rule)
        for i, updated in zip(chosen, wide, strict=True):
            if updated is not params[i]:
                params[i].copy_(updated)


@dataclass(frozen=True)
class _Rule:
    lr: float
    beta1: float
    beta2: float
    eps: float
    weight_decay: float
    project_back: bool
    nesterov: bool


def _update(
    params: list[Tensor],
    turned: list[Tensor],  # ĝ
    exp_avgs: list[Tensor],
    exp_avg_sqs: list[Tensor],
    steps: list[int],
    batch: Batch,
    rule: _Rule,
) -> None:
    if rule.weight_decay != 0:
        torch._foreach_mul_(params, 1 - rule.lr * rule.weight_decay)
    torch._foreach_lerp_(exp_avgs, turned, 1 - rule.beta1)
    torch._foreach_mul_(exp_avg_sqs, rule.beta2)
    torch._foreach_addcmul_(exp_avg_sqs, turned, turned, 1 - rule.beta2)

    # m̂ / (√v̂ + ε) as AdamW groups it: the bias correction of m is part of the step size, that of v divides its root.
    denominators = torch._foreach_sqrt(exp_avg_sqs)
    torch._foreach_div_(denominators, [(1 - rule.beta2**t) ** 0.5 for t in steps])
    torch._foreach_add_(denominators, rule.eps)
    back = bool(batch.matrices) and rule.project_back
    if not (back or rule.nesterov):
        torch._foreach_addcdiv_(params, exp_avgs, denominators, [-rule.lr / (1 - rule.beta1**t) for t in steps])
        return
    # addcdiv is θ + (size · m) / d: the same operations, with Pᵀ between the division and the sum.
    updates = _sized_momentum(turned, exp_avgs, steps, rule)
    torch._foreach_div_(updates, denominators)
    torch._foreach_add_(params, _turn(updates, batch, transpose=True) if back else updates)


def _sized_momentum(turned: list[Tensor], exp_avgs: list[Tensor], steps: list[int], rule: _Rule) -> list[Tensor]:
    """-η m̂, new tensors: m̂ looks one step ahead where the rule is Nesterov's."""
    if not rule.nesterov:
        return list(torch._foreach_mul(exp_avgs, [-rule.lr / (1 - rule.beta1**t) for t in steps]))
    ahead = torch._foreach_mul(exp_avgs, [-rule.lr * rule.beta1 / (1 - rule.beta1 ** (t + 1)) for t in steps])
    now = torch._foreach_mul(turned, [-rule.lr * (1 - rule.beta1) / (1 - rule.beta1**t) for t in steps])
    torch._foreach_add_(ahead, now)
    return list(ahead)


def _update_fused(
    params: list[Tensor],
    turned: list[Tensor],
    exp_avgs: list[Tensor],
    exp_avg_sqs: list[Tensor],
    steps: list[int],
    batch: Batch,
    rule: _Rule,
) -> None:
    """The kernel moves what it is given: the parameters where the step is theirs, else zeros, which become the step."""
    straight = not (batch.matrices and rule.project_back)
    moved = params if straight else [torch.zeros_like(m) for m in exp_avgs]
    counts = {t: torch.full((), float(t), device=params[0].device) for t in set(steps)}
    torch._fused_adamw_(
        moved,
        turned,
        exp_avgs,
        exp_avg_sqs,
        [],
        [counts[t] for t in steps],
        lr=rule.lr,
        beta1=rule.beta1,
        beta2=rule.beta2,
        weight_decay=rule.weight_decay if straight else 0.0,
        eps=rule.eps,
        amsgrad=False,
        maximize=False,
    )
    if straight:
        return
    if rule.weight_decay != 0:
        torch._foreach_mul_(params, 1 - rule.lr * rule.weight_decay)
    torch._foreach_add_(params, _turn(moved, batch, transpose=True))


def _turn(tensors: Sequence[Tensor], batch: Batch, *, transpose: bool = False) -> list[Tensor]:
    """P of each, or Pᵀ."""
    if not batch.matrices:
        return list(tensors)
    if len(tensors) == 1:
        return [turn(tensors[0], batch.matrices, transpose=transpose)]
    return list(turn_stacked(torch.stack(list(tensors)), batch.matrices, transpose=transpose).unbind())
