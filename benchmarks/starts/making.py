"""Starts of a family, by rule, from rounds of contributors; and what as many steps of joint training make instead.

A round's contributors begin from the start that the round before it made, on the same data sets with other batches; the
first one's train with AdamW, later ones' at half the learning rate and under the P that there is by then, as jobs of a
family do. P is learned from all of them by the product's rule, and the start that the product hands out comes from its
own code.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cache, partial
from pathlib import Path

import torch
from torch import Tensor

from benchmarks.convergence import forward, updates
from benchmarks.convergence.cache import kept
from benchmarks.convergence.grid import Setting
from benchmarks.convergence.learning import Warps, keys_of
from benchmarks.convergence.store import code_version
from benchmarks.convergence.tasks import Family, Task
from benchmarks.convergence.updates import Adam, Stacked
from benchmarks.starts.contributing import SEED, Round, Weights, contribute, digest, losses_and_gradients
from benchmarks.starts.distilling import distill
from benchmarks.starts.families import family as family_of
from warpadam.learn import RULES, Statistics
from warpadam.learn.starts import Move, distance, grow, precision, shares
from workers.tasks.schedules import factor

LATER = 0.5
"""By how much contributors of later rounds lower their learning rate: from a start, half of the seed's is best."""
Rule = Callable[[Family, Sequence[Round]], Weights]
"""The next start, from every round up to now."""


@dataclass(frozen=True, eq=False)
class Made:
    """A start, the P that was learned beside it, and everything that is behind the two."""

    weights: Weights
    warps: Warps
    lineage: Mapping[str, str]
    sources: frozenset[str]
    steps: int
    """What its contributors took together."""


def assert_unseen(made: Made, family: Family) -> None:
    """AssertionError where data or a source of a task that chooses or judges is behind the start."""
    for task in (*family.tuning, *family.held_out):
        if task.digest in made.lineage.values() or task.sources & made.sources:
            raise AssertionError(f"{task.name} is held out, and its data is in the lineage of the start")


@cache
def made(name: str, contributors: int, rounds: int, rule: str) -> Made:
    """The start of `rounds` rounds of the family's first `contributors`; `joint` in place of a rule: see `joint`."""
    family = family_of(name)
    tasks = family.contributors[:contributors]
    if rule == "joint":
        beside = made(name, contributors, rounds, PRODUCT)
        return Made(joint(family, contributors, rounds), beside.warps, beside.lineage, beside.sources, beside.steps)
    history = history_of(name, contributors, rounds, rule)
    statistics = statistics_of(history)
    return Made(
        STARTS[rule](family, history),
        RULES["covariance"].solve(statistics).matrices,
        {
            job: task.digest
            for job in statistics.jobs
            for task in tasks
            if job.startswith(f"{family.name}/{task.name}/")
        },
        frozenset().union(*(task.sources for task in tasks)),
        contributors * rounds * family.T,
    )


@cache
def history_of(name: str, contributors: int, rounds: int, rule: str) -> list[Round]:
    family = family_of(name)
    if rounds == 0:
        return []
    past = history_of(name, contributors, rounds - 1, rule)
    began = STARTS[rule](family, past) if past else family.start
    assert began is not None, f"{name}: its jobs share no start"
    under = RULES["covariance"].solve(statistics_of(past)).matrices if past else None
    later = replace(family, learning_rate=family.learning_rate * (LATER if past else 1.0))
    return [*past, contribute(later, family.contributors[:contributors], began, rounds - 1, under)]


def statistics_of(history: Sequence[Round]) -> Statistics:
    """The sums of all that these rounds contributed to P."""
    found = Statistics()
    for contribution in (each for past in history for each in past.contributions):
        found = RULES["covariance"].merge(found, contribution)
    return found


def joint(family: Family, contributors: int, rounds: int) -> Weights:
    """One network trained on the same data for as many steps: the tasks in turn, a batch each, one cosine over all."""
    assert family.start is not None
    files = [Path(__file__), *(Path(str(module.__file__)) for module in (forward, updates))]
    tasks, start = family.contributors[:contributors], family.start
    made_from = (
        f"{family.name} {family.T} {family.batch_size} {family.learning_rate} {rounds} "
        f"{[task.digest for task in tasks]} {tasks[0].model} {digest(start)} {code_version(*files)}"
    )
    return kept("joint", made_from, lambda: _joint(family, contributors, rounds * family.T, start))


def _joint(family: Family, contributors: int, each: int, start: Weights) -> dict[str, Tensor]:
    tasks, total = family.contributors[:contributors], each * contributors
    weights = {name: weight[None].clone() for name, weight in start.items()}
    update = Adam(Stacked(weights, [Setting(family.learning_rate)], {}, {}))
    places = [task.batches(SEED + i, each, family.batch_size) for i, task in enumerate(tasks)]
    for step in range(total):
        turn, i = divmod(step, contributors)
        x, y = tasks[i].parts["train"].pick(places[i][turn][None])
        rate = torch.tensor([family.learning_rate * factor("cosine", step, total, 0)], dtype=torch.float64)
        update.step(losses_and_gradients(tasks[i], weights, (x, y))[1], rate, 1)
    return {name: weight[0].clone() for name, weight in weights.items()}


def product(
    family: Family,
    history: Sequence[Round],
    *,
    step: float = 1.0,
    precise: bool = True,
    tasks: Sequence[Task] | None = None,
) -> Weights:
    """What the service makes of the last round: `warpadam.learn.starts`, with the sums that its jobs sent.

    `tasks`: who took part in it; the family's first ones where it is not given.
    """
    last = history[-1]
    began = {name: weight.numpy() for name, weight in last.began.items()}
    finals = [{name: stack[i].numpy() for name, stack in last.finals.items()} for i in range(_count(last))]
    sums = statistics_of([last])
    number = last.contributions[0].job.rpartition("/")[2]
    keys = keys_of(family, family.contributors[0])
    took_part = family.contributors[: len(finals)] if tasks is None else tasks
    jobs = [f"{family.name}/{task.name}/{number}" for task in took_part]
    counted = shares([family.T] * len(finals), [distance(began, final) for final in finals])
    moves = [
        Move(*share, began, final, precision(sums.jobs[job].sums, keys, began) if precise else {})
        for share, final, job in zip(counted, finals, jobs, strict=True)
    ]
    return {name: torch.from_numpy(array.copy()) for name, array in grow(began, moves, step).items()}


def plain(family: Family, history: Sequence[Round], *, step: float = 1.0) -> Weights:
    """Reptile: the mean of the last round's moves, times `step`."""
    return product(family, history, step=step, precise=False)


def running(family: Family, history: Sequence[Round]) -> Weights:
    """The mean of all final weights of all rounds."""
    return {name: torch.cat([past.finals[name] for past in history]).mean(0) for name in history[-1].began}


def last_five(family: Family, history: Sequence[Round]) -> Weights:
    return {name: stack[-5:].mean(0) for name, stack in history[-1].finals.items()}


def tails(family: Family, history: Sequence[Round]) -> Weights:
    """The mean of the contributors' weights over the last quarter of their steps."""
    return {name: stack.mean(0) for name, stack in history[-1].tails.items()}


def leap(family: Family, history: Sequence[Round]) -> Weights:
    """Leap's direction, as far as the plain average moves: its own step size is one more thing to tune."""
    last = history[-1]
    direction = {name: stack.mean(0) for name, stack in last.leaps.items()}
    move = {name: stack.mean(0) - last.began[name] for name, stack in last.finals.items()}
    size = _norm(move) / _norm(direction)
    return {name: last.began[name] + size * direction[name] for name in direction}


def fisher(family: Family, history: Sequence[Round]) -> Weights:
    """Weighted by the root of each coordinate's mean squared gradient, which the service's jobs do not send."""
    last = history[-1]
    found: dict[str, Tensor] = {}
    for name, squares in last.squares.items():
        counts = squares.sqrt()
        counts = counts + 0.01 * counts.mean() + 1e-30
        found[name] = last.began[name] + (counts * (last.finals[name] - last.began[name])).sum(0) / counts.sum(0)
    return found


def momentum(family: Family, history: Sequence[Round]) -> Weights:
    """Nesterov over rounds, the outer optimizer of DiLoCo (arXiv 2311.08105): step 0.7, momentum 0.9."""
    velocity = {name: torch.zeros_like(weight) for name, weight in history[0].began.items()}
    start = dict(history[0].began)
    for past in history:
        for name, stack in past.finals.items():
            move = stack.mean(0) - past.began[name]
            velocity[name] = 0.9 * velocity[name] + move
            start[name] = past.began[name] + 0.7 * (move + 0.9 * velocity[name])
    return start


def distilled(family: Family, history: Sequence[Round]) -> Weights:
    """See `distilling`."""
    return distill(family, product(family, history), history[-1])


def _count(of: Round) -> int:
    return len(next(iter(of.finals.values())))


def _norm(weights: Weights) -> float:
    return float(torch.stack([weight.square().sum() for weight in weights.values()]).sum().sqrt())


PRODUCT = "precise"
STARTS: Mapping[str, Rule] = {
    PRODUCT: product,
    "plain": plain,
    "half-step": partial(plain, step=0.5),
    "long-step": partial(plain, step=1.5),
    "precise-long-step": partial(product, step=1.5),
    "running": running,
    "last-five": last_five,
    "tails": tails,
    "leap": leap,
    "fisher": fisher,
    "momentum": momentum,
    "distilled": distilled,
}
"""Rules that make a start, by name."""
