"""Which P suit some data and a model: a short paired training under each, and how well each diagonalises the gradients.

The score of a P (`Score.score`) is

    ln(validation loss without any P) - ln(validation loss with it)

both after the same steps on the same batches from the same weights, each at its own best learning rate on one ladder,
the mean over `SEEDS` draws of batches and (where init is random) weights: 0.1 means a loss lower by a tenth. `stderr`
is the standard error of that mean. `none` has 0 by definition, and `warp: data` stands on the same scale. It is this
project's own measure, not one of a paper.

`Score.diagonal` is the share of the off-diagonal energy of the gradients' second moment that a P removes
(`warpadam.learn.diagonal`): the gradients are those of a run without P, as a contributing job would have observed them.
It costs a few products of matrices and has no luck in it. So it decides which P are trained with at all, which comes
first of those that training cannot tell apart, and everything where training would take too long
(`Measured.by: gradients`): then it is the score.

What it is worth (`python -m benchmarks.matching`; the centre of 8 × 8 images from what is around it; P from four jobs
each; gain: the same difference after 300 steps, tuned on another grid, 3 other seeds):

    data                 digits of unseen classes           patches of another photograph
    P of              score  diagonal  gain at 300         score  diagonal  gain at 300
    the data itself   0.101    0.97       0.073            0.385    0.98       0.243
    digits            0.075    0.84       0.060            0.096    0.20       0.007
    patches           0.057    0.36       0.043            0.352    0.97       0.258
    patches, shuffled 0.016    0.02       0.007            0.319    0.89       0.234

Limits. A short run says little of a long one: steps are `STEPS` or, for large models, fewer, and the advantage of a P
shrinks as training goes on. All but P and the learning rate is at its defaults. The validation part decides, so it has
been looked at. With several P to choose from the best one's score is a little too good. A P that wins here by being
close to the data's own basis brings nothing that `warp: data` would not: that is why both stand side by side. And a
large part of `diagonal` may be one strong direction, such as the mean brightness of images, which a P of other images
has too: so shuffled patches come close to patches above, in training as well.
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from statistics import fmean, stdev
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from warpadam import shapes, warpfile
from warpadam.learn import Contribution, diagonal
from warpadam.learn.packed import unpack
from workers import preparing
from workers.exchange import NullExchange
from workers.failures import NotFiniteError
from workers.group import Group
from workers.plan import Plan
from workers.reporting import NullReporter
from workers.tasks.data import Split
from workers.train import train

STEPS = 200
FEWEST_STEPS = 50
"""Fewer than this say more about the first steps' luck than about P: then gradients alone decide."""
GRADIENTS = 16
"""So many steps without P are observed where nothing is trained."""
LADDER = tuple(2.0**power for power in range(-11, -1))
"""Learning rates, 0.0005 to 0.25."""
_FIRST_RUNG, _USUAL_RUNGS = 4, 4
SEEDS = 4
MARGIN = 0.01
BUDGET_S = 60.0
"""Of one slow core, by arithmetic and not by the clock: the same request is measured in the same way everywhere."""
_OPERATIONS_PER_S, _STEP_S = 1e10, 1e-3
MAX_TRAIN, MAX_VAL = 65_536, 2048
"""Rows of each part that are looked at, evenly spaced; fewer where they are large (`MAX_VALUES`)."""
MAX_TRAIN_TEXT, MAX_VAL_TEXT = 2**24, 2**16
"""Bytes, from the beginning."""
MAX_VALUES = 2**27

MeasuredBy = Literal["training", "gradients"]
Moments = Mapping[str, NDArray[np.float64]]


@dataclass(frozen=True)
class Candidate:
    """A family's P: `warp` is its file."""

    family: str
    version: int
    warp: bytes


@dataclass(frozen=True)
class Score:
    score: float
    diagonal: float
    stderr: float | None = None
    """These three are None where nothing was trained, or training did not stay finite (then the score is 0 or less)."""
    val_loss: float | None = None
    """After the steps, the geometric mean over the seeds."""
    lr: float | None = None


@dataclass(frozen=True)
class Measured:
    by: MeasuredBy
    steps: int
    none: Score
    data: Score | None
    """None where the data says nothing of any axis."""
    families: list[tuple[Candidate, Score]]
    """Best first, at most as many as were asked for."""
    axes: int
    """Of the model, that may have a matrix."""


def measure(plan: Plan, candidates: Sequence[Candidate], limit: int) -> Measured:
    """Scores candidates, whose axes must fit the model, on the plan's data. Deterministic on one machine.

    Of the plan's description task, model, weights, batch size and seed count. NotFiniteError where not even training
    without P stays finite.
    """
    bench = _Bench.of(plan, min(limit, len(candidates)))
    without, moments = bench.without()
    shares = {id(each): diagonal.removed(warpfile.decode(each.warp)[0], moments) for each in candidates}
    chosen = sorted(candidates, key=lambda each: (-shares[id(each)], each.family))[:limit]
    own = preparing.own_basis(bench.plan, bench.axis_keys)
    data = None
    if own is not None:
        data = bench.score(own, diagonal.removed(warpfile.decode(own)[0], moments), without)
    found = [(each, bench.score(each.warp, shares[id(each)], without)) for each in chosen]
    return Measured(
        by="training" if bench.trains else "gradients",
        steps=bench.plan.steps,
        none=Score(0.0, 0.0) if without is None else Score(0.0, 0.0, 0.0, *without.shown),
        data=data,
        families=ranked(found),
        axes=len(shapes.sizes_by_key(bench.axis_keys)),
    )


def ranked(found: Sequence[tuple[Candidate, Score]]) -> list[tuple[Candidate, Score]]:
    """Best score first; of those that cannot be told from the best one, the one that diagonalises better."""
    by_score = sorted(found, key=lambda pair: (-pair[1].score, pair[0].family))
    leaders = [pair for pair in by_score if not is_better(by_score[0][1], pair[1])]
    leaders.sort(key=lambda pair: -pair[1].diagonal)
    return leaders + [pair for pair in by_score if pair not in leaders]


def is_better(one: Score, other: Score) -> bool:
    """Whether the difference is more than `MARGIN` and twice its standard error."""
    return one.score - other.score > max(MARGIN, 2 * math.hypot(one.stderr or 0.0, other.stderr or 0.0))


@dataclass(frozen=True)
class _Tuned:
    """Log losses at the best learning rate, one for each seed."""

    lr: float
    logs: tuple[float, ...]

    @property
    def mean(self) -> float:
        return fmean(self.logs)

    @property
    def shown(self) -> tuple[float, float]:
        return math.exp(self.mean), self.lr


@dataclass(frozen=True)
class _Bench:
    """One setting in which all are tried."""

    plan: Plan
    trains: bool
    axis_keys: shapes.AxisKeys

    @classmethod
    def of(cls, plan: Plan, families: int) -> "_Bench":
        runs = (families + 2) * _USUAL_RUNGS * SEEDS
        seconds = _STEP_S + operations(plan.model, plan.spec.training.batch_size) / _OPERATIONS_PER_S
        steps = min(STEPS, int(BUDGET_S / (runs * seconds)))
        trains = steps >= FEWEST_STEPS
        if not trains:
            steps = max(1, min(GRADIENTS, int(BUDGET_S / seconds)))
        keys = shapes.axis_keys(plan.model, plan.anchor, plan.max_axis)
        return cls(replace(plan, steps=steps, split=thinned(plan.split)), trains, keys)

    def without(self) -> tuple[_Tuned | None, Moments]:
        """Training without P, and what a contributing job would have seen of its gradients."""
        tuned = self._tune(None) if self.trains else None
        observer = _Observer()
        self._log_loss(tuned.lr if tuned else LADDER[0], 0, None, observer)
        return tuned, observer.moments

    def score(self, warp: bytes, share: float, without: _Tuned | None) -> Score:
        if without is None:
            return Score(share, share)
        try:
            tuned = self._tune(warp)
        except NotFiniteError:
            return Score(min(0.0, share), share)
        gains = [before - after for before, after in zip(without.logs, tuned.logs, strict=True)]
        return Score(fmean(gains), share, stdev(gains) / math.sqrt(SEEDS), *tuned.shown)

    def _tune(self, warp: bytes | None) -> _Tuned:
        """At the best rung of the ladder, found by climbing. Raises NotFiniteError where no rung stays finite."""
        tried = {_FIRST_RUNG: self._at(_FIRST_RUNG, warp)}
        while True:
            best = min(tried, key=lambda rung: (tried[rung].mean, rung))
            new = [rung for rung in (best - 1, best + 1) if rung in range(len(LADDER)) and rung not in tried]
            if not new and math.isinf(tried[best].mean):
                raise NotFiniteError(
                    f"Training diverged at all learning rates that were tried, up to {LADDER[best]:g}."
                )
            if not new:
                return tried[best]
            tried |= {rung: self._at(rung, warp) for rung in new}

    def _at(self, rung: int, warp: bytes | None) -> _Tuned:
        """Infinite where a run did not stay finite."""
        lr = LADDER[rung]
        try:
            return _Tuned(lr, tuple(self._log_loss(lr, seed, warp) for seed in range(SEEDS)))
        except NotFiniteError:
            return _Tuned(lr, (math.inf,) * SEEDS)

    def _log_loss(self, lr: float, seed: int, warp: bytes | None, observer: "_Observer | None" = None) -> float:
        """At the end of one run."""
        plan, own = self.plan, self.plan.seed + seed
        changed = {"lr": lr, "warp": "champion", "learn": "none" if observer is None else "covariance"}
        spec = plan.spec.model_copy(update={"optimizer": plan.spec.optimizer.model_copy(update=changed)})
        run = replace(plan, spec=spec, seed=own, init_seed=own if plan.base is None else plan.init_seed, warp=warp)
        final = train(run, Group(), NullReporter(), observer or NullExchange()).final
        assert final is not None, "nobody stops it"
        return math.log(max(final["val_loss"], 1e-30))


class _Observer(NullExchange):
    """Takes the one contribution of a run, instead of a meta-learner."""

    moments: Moments = {}  # noqa: RUF012 - of a model without axes there is no contribution

    def send(self, contribution: bytes | None) -> None:
        assert contribution is not None
        sums = Contribution.decode(contribution).sums
        self.moments = {key: unpack(packed) for key, packed in sums.items()}


def operations(model: shapes.Model, batch_size: int) -> float:
    """About how many a step takes: forward and backward are 6 for each weight and each place where it is used."""
    weights = sum(math.prod(each.shape) for each in shapes.parameters(model) if len(each.shape) > 1)
    return 6.0 * weights * batch_size * _places(model)


def _places(model: shapes.Model) -> int:
    """How often an example uses a weight, at most."""
    shape, context = model.get("input"), model.get("context")
    if isinstance(context, int):
        return context
    return int(shape[0]) * int(shape[1]) if isinstance(shape, list | tuple) else 1


def thinned(split: Split) -> Split:
    """What is looked at of the data, in memory of its own."""
    if split.x_train.ndim == 1:
        return replace(split, x_train=split.x_train[:MAX_TRAIN_TEXT], x_val=split.x_val[:MAX_VAL_TEXT])
    train, val = _rows(split.x_train, MAX_TRAIN), _rows(split.x_val, MAX_VAL)
    return Split(split.x_train[train], split.y_train[train], split.x_val[val], split.y_val[val])


def _rows(array: NDArray[np.generic], most: int) -> NDArray[np.int64]:
    count = len(array)
    kept = min(count, most, max(1, MAX_VALUES // max(1, array[:1].size)))
    return np.arange(kept, dtype=np.int64) * count // max(1, kept)
