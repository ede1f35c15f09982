"""The guard at work: a guarded family's new versions against its champion and AdamW, by evaluations that have finished.

The meta-learner has no data of its own. Whoever wants a version promoted runs evaluation jobs on held-out data
(`service.evaluations`): the candidate, the champion and AdamW in the same setting. Every time one finishes or a version
is published the candidates are looked at again, which `warpadam.guard` allows; versions without any pair cost nothing.
"""

import logging
import math
from collections.abc import Iterable

from service import clock, evaluations, learning
from service.db.models import Family
from service.db.session import Database
from service.evaluations import Candidate, Evaluation, Trial
from warpadam import guard
from warpadam.guard import Comparison

logger = logging.getLogger(__name__)


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
        for version, comparison in judge(trial):
            self._record(version, comparison, trial.champion)
            if comparison.won:
                return  # the next look compares newer versions with this champion
        self._seen = mark

    def _record(self, version: int, comparison: Comparison, champion: int | None) -> None:
        found = {**comparison.to_json(), "champion_version": champion}
        self._database.write(
            lambda session: learning.compared(
                session, self._family_id, self._epoch, version, found, champion=champion, now=clock.now()
            )
        )
        logger.info("family %s: version %s: %s", self._family_id, version, comparison.verdict)


def judge(trial: Trial) -> Iterable[tuple[int, Comparison]]:
    """The comparison of each candidate that has a pair, oldest first. Pure."""
    tested = trial.tested
    for candidate in trial.candidates:
        held_out = [one for one in trial.evaluations if one.task not in candidate.learned_from]
        adamw = differences(held_out, candidate.version, None)
        champion = None if trial.champion is None else differences(held_out, candidate.version, trial.champion)
        if adamw or champion:
            tested += candidate.number is None
            yield candidate.version, guard.compare(champion, adamw, number=_number(candidate, tested))


def differences(evaluations: Iterable[Evaluation], version: int, other: int | None) -> dict[str, list[float]]:
    """Task → log loss of the other less that of the version, one for each setting that both have run.

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
    return found


def _number(candidate: Candidate, tested: int) -> int:
    return tested if candidate.number is None else candidate.number
