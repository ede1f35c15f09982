"""`python -m benchmarks.matching`: whether the score by which families are ranked says what training says.

The score is that of workers/matching/measure.py, where the figures stand. Real data, scikit-learn's: the 4 × 4 centre
of an 8 × 8 image from the 48 pixels around it. Three families have the same axes, `input:48` and `output:16`: digits of
the classes 0 to 4, patches of one photograph, and those patches with their pixels in another order. The data to be
matched: digits of the classes 5 to 9, and patches of another photograph. For each family's P it prints the score, and
what it gains after 300 steps, tuned on a grid of its own.
"""

import json
import math
import sys
from dataclasses import replace

import numpy as np
import torch
from numpy.typing import NDArray
from sklearn.datasets import load_digits, load_sample_image

from service.spec import JobSpec
from warpadam import Warp
from warpadam.learn import Contribution
from warpadam.learn.covariance import solve
from warpadam.learn.statistics import Statistics
from workers.exchange import NullExchange
from workers.group import Group
from workers.matching import measure
from workers.matching.measure import Candidate
from workers.plan import Plan
from workers.reporting import NullReporter
from workers.tasks.data import Split
from workers.train import train

Images = NDArray[np.float32]

CONTRIBUTORS = 4
"""Jobs of 300 steps from which each family has its P."""
LONG, LONG_RATES, LONG_SEEDS = 300, (0.001, 0.002, 0.004, 0.008, 0.016), (10, 11, 12)


def digits(classes: range) -> Images:
    data = load_digits()
    return (data.images[np.isin(data.target, list(classes))].astype(np.float32) / 16.0 - 0.3) / 0.37


def patches(photograph: str, count: int = 4000) -> Images:
    grey = ((load_sample_image(photograph).mean(axis=2) / 255.0 - 0.5) / 0.25).astype(np.float32)
    draw = np.random.default_rng(0)
    corners = zip(draw.integers(0, grey.shape[0] - 8, count), draw.integers(0, grey.shape[1] - 8, count), strict=True)
    return np.stack([grey[y : y + 8, x : x + 8] for y, x in corners])


def centres(images: Images, seed: int = 0) -> Split:
    """The centre from what is around it, a fifth of the rows for validation."""
    inside = np.zeros((8, 8), dtype=bool)
    inside[2:6, 2:6] = True
    rows = images[np.random.default_rng(seed).permutation(len(images))]
    x, y, kept = rows[:, ~inside], rows[:, inside], len(rows) // 5
    return Split(x[kept:], y[kept:], x[:kept], y[:kept])


def plan_of(split: Split, *, seed: int = 0, steps: int = 300, lr: float = 0.003, learn: str = "none") -> Plan:
    spec = JobSpec.model_validate(
        {
            "family": "match",
            "dataset": {"builtin": "digits"},
            "task": "regression",
            "model": {"arch": "mlp", "hidden": [64]},
            "optimizer": {"lr": lr, "learn": learn},
            "training": {"steps": steps, "batch_size": 32, "eval_every": 0, "checkpoint_every": 0},
        }
    )
    model = {"arch": "mlp", "hidden": [64], "activation": "relu", "input": 48, "output": 16}
    return Plan(
        job=f"job_{seed}", attempt=1, token=0, family_id=0, spec=spec, model=model, anchor=None, steps=steps, seed=seed,
        init_seed=seed, split=split,
    )  # fmt: skip


class Kept(NullExchange):
    """Keeps the contribution of a run."""

    sent: bytes = b""

    def send(self, contribution: bytes | None) -> None:
        self.sent = contribution or b""


def learned(images: Images, contributors: int = CONTRIBUTORS, steps: int = 300) -> bytes:
    """The P of a family whose jobs had these images."""
    statistics = Statistics()
    for seed in range(contributors):
        kept = Kept()
        train(plan_of(centres(images, seed), seed=seed, steps=steps, learn="covariance"), Group(), NullReporter(), kept)
        statistics = statistics.add(Contribution.decode(kept.sent))
    return Warp(solve(statistics).matrices).to_bytes()


def families(contributors: int = CONTRIBUTORS, steps: int = 300) -> list[Candidate]:
    china = patches("china.jpg")
    shuffled = china.reshape(-1, 64)[:, np.random.default_rng(1).permutation(64)].reshape(china.shape)
    given = {"digits": digits(range(5)), "patches": china, "shuffled": shuffled}
    return [Candidate(name, 1, learned(images, contributors, steps)) for name, images in given.items()]


def gain(split: Split, warp: bytes | None, own: bool = False) -> float:
    """Mean log loss after `LONG` steps at the best learning rate."""
    found = []
    for lr in LONG_RATES:
        losses = []
        for seed in LONG_SEEDS:
            plan = plan_of(split, seed=seed, steps=LONG, lr=lr)
            if own:
                options = plan.spec.optimizer.model_copy(update={"warp": "data"})
                plan = replace(plan, spec=plan.spec.model_copy(update={"optimizer": options}))
            final = train(replace(plan, warp=warp), Group(), NullReporter(), NullExchange()).final
            assert final is not None
            losses.append(math.log(final["val_loss"]))
        found.append(sum(losses) / len(losses))
    return min(found)


def main() -> None:
    torch.set_num_threads(1)
    known = families()
    for name, images in (("digits", digits(range(5, 10))), ("patches", patches("flower.jpg"))):
        split = centres(images)
        measured = measure.measure(plan_of(split), known, limit=len(known))
        none = gain(split, None)
        rows = [("data", measured.data, none - gain(split, None, own=True))] + [
            (each.family, score, none - gain(split, each.warp)) for each, score in measured.families
        ]
        for label, score, real in rows:
            assert score is not None
            line = {"data": name, "P": label, "score": score.score, "diagonal": score.diagonal, "gain_at_300": real}
            sys.stdout.write(json.dumps(line) + "\n")


if __name__ == "__main__":
    main()
