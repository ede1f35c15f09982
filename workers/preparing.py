"""From a plan to what the loop works with: the model with its weights, the optimizer, and the position of a resume."""

from pathlib import Path

import torch
from torch.optim import AdamW, Optimizer

from warpadam import Warp, WarpAdam
from warpadam.adapt import Adaptation
from warpadam.learn import own_data
from warpadam.shapes import AxisKeys, is_foreign, is_named, sizes_by_key
from warpadam.warpfile import WarpMetadata
from workers import checkpoints
from workers.checkpoints import Position
from workers.group import Group
from workers.plan import Plan
from workers.tasks import models, named
from workers.tasks.models import Prepared


def make_deterministic(device: torch.device, threads: int) -> None:
    """Settings of this process under which the same plan gives the same losses on one machine."""
    torch.set_num_threads(max(1, threads))
    if device.type == "cuda":
        torch.backends.cudnn.benchmark = False
        torch.backends.cudnn.deterministic = True


def prepare_model(plan: Plan, group: Group) -> Prepared:
    """Weights drawn from the seed, or those of the base, or those of the checkpoint to resume from. Collective."""
    prepared = _build(plan)
    module = prepared.module
    if plan.resume_model is not None:
        checkpoints.load_model(module, plan.resume_model)
    elif plan.base is not None and is_named(plan.model):
        named.load(module, plan, plan.base)
    elif plan.base is not None:
        checkpoints.load_model(module, plan.base, plan.fresh)
    elif plan.runs_code and group.world > 1:  # what code draws need not be the same everywhere
        checkpoints.load_model(module, group.share(checkpoints.encode_model(module) if group.leads else b""))
    module.to(group.device)
    if plan.runs_code:
        from workers.code import build

        build.try_forward(plan, module, group.device)
        build.checked_outputs(plan, module)
    return prepared


def _build(plan: Plan) -> Prepared:
    if plan.runs_code:
        from workers.code import build  # imports a user's package: only its own process has unpacked one

        assert plan.code_folder is not None, "user code runs in a process of its own only (workers/code)"
        return build.build(plan, Path(plan.code_folder))
    if is_named(plan.model):
        return named.build(plan)
    model = models.build(plan.model, seed=plan.init_seed, anchor=plan.anchor, max_axis=plan.max_axis)
    return Prepared(model, model.axis_keys)


def prepare_optimizer(plan: Plan, prepared: Prepared, warp: bytes | None) -> Optimizer:
    """The job's optimizer; `warp` are the bytes of the P to begin with."""
    options, model = plan.spec.optimizer, prepared.module
    if options.name == "adamw":
        return AdamW(
            [(name, parameter) for name, parameter in model.named_parameters() if parameter.requires_grad],
            lr=options.lr,
            betas=options.betas,
            eps=options.eps,
            weight_decay=options.weight_decay,
        )
    return WarpAdam(
        [(name, parameter) for name, parameter in model.named_parameters() if parameter.requires_grad],
        lr=options.lr,
        betas=options.betas,
        eps=options.eps,
        weight_decay=options.weight_decay,
        project_back=options.project_back,
        nesterov=options.nesterov,
        adapt=Adaptation(axes=options.adapt, max_axis=plan.max_axis),
        warp=None if warp is None else Warp.from_bytes(warp),
        axes=prepared.axis_keys,
    )


def starting_warp(plan: Plan, keys: AxisKeys, group: Group) -> tuple[int | None, bytes | None]:
    """Version and bytes of the P to begin with: on a resume the one under which the optimizer's state was made.

    Collective: a basis from the job's own data has no version; the leader makes it, and all ranks get its bytes.
    """
    if plan.resume_state is not None:
        return checkpoints.warp_of(plan.resume_state)
    if plan.uses_own_data:
        return None, group.share(own_basis(plan, keys) if group.leads else None)
    if is_foreign(plan.model) and plan.warp is not None and not_covered(plan, keys) is not None:
        return None, None
    return plan.warp_version, plan.warp


def not_covered(plan: Plan, keys: AxisKeys) -> str | None:
    """Why the P that the job got at submit, when nobody knew its axes, does not suit it; None: it does."""
    if plan.resume_state is not None or plan.warp is None:
        return None
    theirs = Warp.from_bytes(plan.warp).keys()
    ours = sizes_by_key(keys)
    if ours.keys() & set(theirs):
        return None
    has = ", ".join(sorted(ours)[:4]) or "none with a key"
    return (
        f"P version {plan.warp_version} has no axis of this model: it has {', '.join(sorted(theirs)[:4])}, the model "
        f"{has}. The job trains without P."
    )


def own_basis(plan: Plan, keys: AxisKeys) -> bytes | None:
    """The P of `warp: data`; None where the data says nothing of any axis."""
    split = plan.split
    found = own_data.matrices(split.x_train, split.y_train, plan.spec.task, sizes_by_key(keys))
    return Warp(found, WarpMetadata(rule="data")).to_bytes() if found else None


def resume(plan: Plan, optimizer: Optimizer) -> Position:
    """Where to go on; restores the optimizer and the random states where there is something to resume from."""
    torch.manual_seed(plan.seed)
    if plan.resume_state is not None:
        return checkpoints.load_state(optimizer, plan.resume_state)
    return Position(step=0, warp_version=plan.warp_version)
