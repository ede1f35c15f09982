"""What is done to the service, drawn from a seed: the same seed gives the same plan."""

import random
from collections.abc import Sequence
from dataclasses import dataclass

ON_ANY = (
    "api", "dispatcher", "runner", "learner", "raylet", "head", "worker", "serve",
    "freeze-runner", "freeze-dispatcher", "freeze-learner", "disk-full",
)  # fmt: skip
"""Parts that are killed (SIGKILL), stopped (SIGSTOP) for a while, or left without room to write."""
ON_POSTGRES = (*ON_ANY, "postgres", "refused")
"""Beside: PostgreSQL is killed with all its processes, or refuses connections for a while."""
SHORT = ("runner", "dispatcher", "learner", "head", "api")
WORDS = ("none", "none", "cancel", "pause")
"""What a user may ask of one of a round's jobs, at some moment of it."""


@dataclass(frozen=True)
class Blow:
    """One thing that goes wrong: what, how many seconds after the round's jobs were submitted, for how long."""

    kind: str
    after_s: float
    lasts_s: float


@dataclass(frozen=True)
class Round:
    number: int
    blows: tuple[Blow, ...]
    jobs: tuple[int, ...]
    """Numbers of the jobs to submit (tests/chaos/load.py)."""
    word: str
    word_after_s: float


def make(seed: int, rounds: int, kinds: Sequence[str], jobs: int, together: float = 0.3) -> list[Round]:
    """`rounds` rounds in which every kind has its turn; a share `together` of them has several blows at once."""
    draw = random.Random(seed)
    turns = [kind for _ in range(rounds // len(kinds) + 1) for kind in draw.sample(kinds, len(kinds))]
    return [_round(draw, number, turns[number], kinds, jobs, together) for number in range(rounds)]


def _round(draw: random.Random, number: int, kind: str, kinds: Sequence[str], jobs: int, together: float) -> Round:
    extra = draw.sample(kinds, draw.choice([1, 2])) if draw.random() < together else []
    blows = tuple(
        Blow(each, draw.uniform(0.2, 6.0), draw.uniform(1.0, 8.0))
        for each in dict.fromkeys([kind, *extra])  # each kind once
    )
    numbers = tuple(draw.randrange(1000) for _ in range(jobs))
    return Round(number, blows, numbers, draw.choice(WORDS), draw.uniform(0.5, 6.0))
