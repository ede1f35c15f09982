"""What is done to the service, drawn from a seed: the same seed gives the same plan."""

import random
from collections.abc import Sequence
from dataclasses import dataclass

KILLS = ("api", "dispatcher", "runner", "learner", "worker", "raylet", "head", "warden", "serve")
FREEZES = (
    "freeze-api", "freeze-dispatcher", "freeze-runner", "freeze-learner", "freeze-worker", "freeze-raylet",
    "freeze-gcs", "freeze-serve",
)  # fmt: skip
ON_ANY = (*KILLS, *FREEZES, "disk-full", "clock")
"""Parts that are killed (SIGKILL) or stopped (SIGSTOP), a full disk, a time of day that jumps and jumps back."""
ON_POSTGRES = (*ON_ANY, "postgres", "postgres-quit", "refused", "freeze-postgres")
"""Beside: PostgreSQL is killed with all its processes or told to quit at once (SIGQUIT), both and back again; it throws
everybody out (SIGINT) and refuses connections for a while; it is stopped for a while."""
_UNWATCHED = ("freeze-serve", "freeze-postgres")
"""Nobody would end these, so they are always continued."""
GROUPS = ("worker", "freeze-worker")
"""These hit a worker of a group."""
WORDS = ("none", "none", "cancel", "pause")
"""What a user may ask of one of a round's jobs, at some moment of it."""


@dataclass(frozen=True)
class Blow:
    """One thing that goes wrong: what, how many seconds after the round's jobs were submitted, for how long."""

    kind: str
    after_s: float
    lasts_s: float | None
    """None, for who is stopped: it is never continued, and the service has to see to it."""


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
    extra = draw.sample(kinds, min(len(kinds), draw.choice([1, 2]))) if draw.random() < together else []
    blows = tuple(_blow(draw, each) for each in dict.fromkeys([kind, *extra]))  # each kind once
    numbers = tuple(draw.randrange(1000) for _ in range(jobs))
    return Round(number, blows, numbers, draw.choice(WORDS), draw.uniform(0.5, 6.0))


def _blow(draw: random.Random, kind: str) -> Blow:
    after_s, lasts_s = draw.uniform(0.2, 6.0), draw.uniform(1.0, 8.0)
    for_ever = draw.random() < 0.5 and kind in FREEZES and kind not in _UNWATCHED
    return Blow(kind, after_s, None if for_ever else lasts_s)


SHORT = [
    Round(0, (Blow("runner", 2.0, None), Blow("api", 2.0, None), Blow("learner", 2.5, None)), (0, 2), "none", 0.0),
    Round(1, (Blow("dispatcher", 1.0, None), Blow("head", 1.5, None)), (0, 2), "pause", 1.0),
]
"""What there is time for in `make test`."""
