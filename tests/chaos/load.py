"""The jobs that run while things go wrong: small, with all their draws fixed, so that each has known losses."""

from typing import Any

BUDGET = 1000
"""No job is to fail for having been killed too often: that would be right, and would hide what is wrong."""

SHAPES = 2

Json = dict[str, Any]


def job(number: int, *, group: bool = False, contributes: bool = True) -> Json:
    """Job descriptions repeat: `shape_of` names those that must have the same losses."""
    shape = number % SHAPES
    return {
        "family": f"chaos-{number % 2}",
        "name": f"chaos-{number}",
        "dataset": {"builtin": "digits"},
        "task": "classification",
        "model": {"arch": "mlp", "hidden": [16, 16] if shape else [24]},
        "optimizer": {"warp": "none", "lr": 0.01, "learn": "covariance" if contributes else "none"},
        "training": {
            "steps": 300 if not group else 60,
            "batch_size": 64,
            "eval_every": 10,
            "checkpoint_every": 20,
            "sync_every": 20,
            "seed": shape,
        },
        "resources": {"workers": 2 if group else 1, "cpus_per_worker": 0.5 if group else 1},
        "retries": {"infrastructure": BUDGET, "preemption": BUDGET, "user": 0},
        "metadata": {"shape": shape_of(number, group=group)},
    }


def shape_of(number: int, *, group: bool = False) -> str:
    return f"{'group' if group else 'alone'}-{number % SHAPES}"
