"""Narrow rounds: as many jobs of the same data sets, but few at once, as where one job comes after another.

A wide round averages more; many narrow ones go further, because each begins where the one before it ended. The service
makes whichever its users' jobs are: a round holds those that began before a newer version was there, three at least.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cache

import numpy as np

from benchmarks.convergence.tasks import Task
from benchmarks.starts import making
from benchmarks.starts.contributing import Round, contribute
from benchmarks.starts.families import family as family_of
from benchmarks.starts.making import Made, product, statistics_of
from warpadam.learn import RULES

ORDER = 5
"""Seed of the order in which data sets take their turns."""
NUMBER = 10
"""Of the first narrow round: its batches are none of a wide round's."""


@dataclass(frozen=True)
class Width:
    """`jobs` in each round; `later`: by what jobs multiply their learning rate once each data set has had its turn."""

    jobs: int
    later: float


KINDS: Mapping[str, Width] = {
    "fives": Width(5, 1.0),
    "fives-half": Width(5, making.LATER),
}
"""Widths by name."""


@cache
def made(name: str, contributors: int, rounds: int, kind: str) -> Made:
    """The start after each of the first `contributors` had `rounds` turns: `contributors · rounds` jobs in all."""
    family, width = family_of(name), KINDS[kind]
    who = turns(family.contributors[:contributors], rounds, width.jobs)
    weights, under = family.start, None
    assert weights is not None, f"{name}: its jobs share no start"
    history: list[Round] = []
    for number, tasks in enumerate(who):
        rate = 1.0 if number * width.jobs < contributors else width.later
        here = replace(family, learning_rate=family.learning_rate * rate)
        history.append(contribute(here, tasks, weights, NUMBER + number, under))
        weights = product(family, history[-1:], tasks=tasks)
        under = RULES["covariance"].solve(statistics_of(history)).matrices
    assert under is not None, "there must be a round"
    lineage = {
        f"{family.name}/{task.name}/round {NUMBER + number}": task.digest
        for number, tasks in enumerate(who)
        for task in tasks
    }
    sources = frozenset().union(*(task.sources for tasks in who for task in tasks))
    return Made(weights, under, lineage, sources, len(lineage) * family.T)


def turns(tasks: Sequence[Task], times: int, jobs: int) -> list[list[Task]]:
    """Who is in which round: each task `times` times, in a new order each time, none twice in one round.

    ValueError where that is not possible.
    """
    if len(tasks) % jobs:
        raise ValueError(f"{len(tasks)} tasks are no rounds of {jobs}")
    rng = np.random.default_rng(ORDER)
    order = [tasks[i] for _ in range(times) for i in rng.permutation(len(tasks))]
    return [order[i : i + jobs] for i in range(0, len(order), jobs)]
