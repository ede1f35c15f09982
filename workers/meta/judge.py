"""The guard at work: a guarded family's new versions against its champion and AdamW, by evaluations that have finished.

The meta-learner has no data of its own. Whoever wants a version promoted runs evaluation jobs on held-out data
(`service.evaluations`): the candidate, the champion and AdamW in the same setting. Every time one finishes or a version
is published the candidates are looked at again, which `warpadam.guard` allows; versions without any pair cost nothing.
It allows it because the past stays as it was: a task's pair is complete when all its evaluations have ended, counts as
it is then, and is written down with the comparison. Further seeds for a task that went badly change nothing.
"""

import logging
import math
from collections.abc import Iterable
from dataclasses import dataclass

from service import clock, evaluations, learning
from service.db.models import Family
from service.db.session import Database
from service.evaluations import Evaluation, Trial
from warpadam import guard
from warpadam.guard import Comparison

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class Judged:
    """A version's comparison, and the pairs that it rests on: `champion` and `adamw`, by task."""

    version: int
    comparison: Comparison
    pairs: dict[str, dict[str, float]]


class Judge:
    """Looks when something has changed since it last looked. StaleEpochError as for every writer of the family."""

    def __init__(self, database: Database, family_id: int, epoch: int) -> None:
        self._database, self._family_id, self._epoch = database, family_id, epoch
        self._seen: tuple[object, ...] | None = None

    def look(self) -> None:
        with self._database.read() as session:
            family = session.get_one(Family, self._family_id)
            mark = evaluations.mark(session, family)
            if mark is None or mark == self._seen:
                return
            trial = evaluations.trial(session, family)
        for judged in judge(trial):
            self._record(judged, trial.champion)
            if judged.comparison.won:
                return  # the next look compares newer versions with this champion
        self._seen = mark

    def _record(self, judged: Judged, champion: int | None) -> None:
        found = {**judged.comparison.to_json(), "champion_version": champion, "pairs": judged.pairs}
        self._database.write(
            lambda session: learning.compared(
                session, self._family_id, self._epoch, judged.version, found, champion=champion, now=clock.now()
            )
        )
        logger.info("family %s: version %s: %s", self._family_id, judged.version, judged.comparison.verdict)


def judge(trial: Trial) -> Iterable[Judged]:
    """The comparison of each candidate that has a pair, oldest first. Pure."""
    tested = trial.tested
    for candidate in trial.candidates:
        excluded = candidate.learned_from | trial.unfinished
        held_out = [one for one in trial.evaluations if one.task not in excluded]
        pairs = {"adamw": {**differences(held_out, candidate.version, None), **candidate.adamw}}
        if trial.champion is not None:
            pairs["champion"] = {**differences(held_out, candidate.version, trial.champion), **candidate.champion}
        if any(pairs.values()):
            tested += candidate.number is None
            number = tested if candidate.number is None else candidate.number
            found = guard.compare(_listed(pairs.get("champion")), _listed(pairs["adamw"]) or {}, number=number)
            yield Judged(candidate.version, found, pairs)


def differences(evaluations: Iterable[Evaluation], version: int, other: int | None) -> dict[str, float]:
    """Task → log loss of the other less that of the version, the mean over the settings that both have run.

    Each at its best learning rate, where both were tried at the same ones: equal tuning, or no pair. Runs that repeat
    another exactly count once, the first one.
    """
    runs: dict[tuple[str, str], dict[int | None, dict[float, float]]] = {}
    for one in evaluations:
        if one.version in (version, other):
            runs.setdefault((one.task, one.setting), {}).setdefault(one.version, {}).setdefault(one.lr, one.loss)
    found: dict[str, list[float]] = {}
    for (task, _), by_version in sorted(runs.items()):
        mine, others = by_version.get(version, {}), by_version.get(other, {})
        if mine and mine.keys() == others.keys():
            found.setdefault(task, []).append(math.log(min(others.values())) - math.log(min(mine.values())))
    return {task: math.fsum(values) / len(values) for task, values in found.items()}


def _listed(pairs: dict[str, float] | None) -> dict[str, list[float]] | None:
    return None if pairs is None else {task: [value] for task, value in pairs.items()}
