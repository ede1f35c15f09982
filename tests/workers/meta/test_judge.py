"""The guard in the service: evaluations are paired fairly; a guarded champion moves only to a version that won."""

import math

import pytest

from service import aliases, clock, families, learning
from service.db.models import Family, Job, Json, WarpVersion
from service.db.session import Database
from service.evaluations import Candidate, Evaluation, Trial
from service.pages import PageRequest
from service.states import JobState
from tests.families import MODEL, STEPS, change_job, contribution, make_family, make_job
from tests.workers.meta.conftest import StartLearner
from tests.workers.meta.test_learner import send
from workers.meta.judge import Judge, differences, judge


def run(version: int | None, loss: float, *, task: str = "a", setting: str = "s", lr: float = 0.01) -> Evaluation:
    return Evaluation(task, setting, lr, version, loss)


@pytest.mark.parametrize(
    ("evaluations", "expected"),
    [
        ([run(2, 0.5), run(None, 1.0)], {"a": math.log(2)}),
        ([run(2, 0.5)], {}),
        ([run(2, 0.5), run(None, 1.0, setting="t")], {}),
        ([run(2, 0.5), run(None, 1.0, task="b")], {}),
        ([run(2, 0.5), run(None, 1.0, lr=0.1)], {}),
        ([run(2, 0.5), run(2, 0.1, lr=0.1), run(None, 1.0)], {}),
        ([run(2, 0.5), run(2, 0.9, lr=0.1), run(None, 2.0), run(None, 1.0, lr=0.1)], {"a": math.log(2)}),
        ([run(2, 0.5), run(2, 0.1), run(None, 1.0)], {"a": math.log(2)}),
        ([run(2, 1.0), run(None, 1.0), run(2, 1.0, setting="t"), run(None, 1.0, setting="t")], {"a": 0.0}),
        ([run(2, 0.5), run(1, 1.0)], {}),
    ],
)
def test_pairs_have_one_setting_and_equal_tuning(evaluations: list[Evaluation], expected: dict[str, float]) -> None:
    assert differences(evaluations, 2, None) == expected


def test_what_a_version_was_learned_from_does_not_speak_for_it_and_untested_ones_cost_nothing() -> None:
    evaluations = [run(3, 0.5, task=f"t{index}") for index in range(20)]
    evaluations += [run(None, 1.0, task=f"t{index}") for index in range(20)]
    everything, nothing = frozenset(f"t{index}" for index in range(20)), frozenset[str]()

    def verdicts(*candidates: Candidate, tested: int = 0) -> list[tuple[int, str, int]]:
        found = judge(Trial(None, list(candidates), evaluations, unfinished, tested))
        return [(one.version, one.comparison.verdict, one.comparison.number) for one in found]

    unfinished = nothing
    assert verdicts(Candidate(3, everything)) == []
    assert verdicts(Candidate(2, nothing), Candidate(3, nothing)) == [(3, "promote", 1)]
    assert verdicts(Candidate(3, nothing), tested=4) == [(3, "promote", 5)]
    assert verdicts(Candidate(3, nothing, 2), tested=4) == [(3, "promote", 2)]
    assert verdicts(Candidate(3, nothing, 2, adamw=dict.fromkeys(everything, -0.5))) == [(3, "keep", 2)]
    unfinished = everything
    assert verdicts(Candidate(3, nothing)) == []


def evaluate(database: Database, family: Family, task: int, version: int | None, loss: float, seed: int = 7) -> None:
    """A finished evaluation on held-out data, under that version or AdamW."""
    job = make_job(database, family, learn="none")
    change: Json = {"model": MODEL, "steps": STEPS, "seed": seed, "dataset_sha256": f"{task:064d}"}
    with database.read() as session:
        spec = session.get_one(Job, job.id).spec
    spec["optimizer"]["warp"] = "none" if version is None else version
    change_job(
        database,
        job.id,
        spec=spec,
        resolved=change,
        warp_version=version,
        state=JobState.SUCCEEDED,
        result={"final": {"val_loss": loss}},
    )


def test_a_guarded_champion_moves_to_what_has_won_and_to_nothing_else(
    database: Database, start_learner: StartLearner, family: Family
) -> None:
    database.write(lambda session: families.update(session, "default", family.name, promotion="guarded"))
    learner, job = start_learner(), make_job(database, family)

    def next_version() -> int:
        start = STEPS // 10 * (learner.ping()["contributions"])  # type: ignore[operator]
        send(learner, job, contribution(job, start, start + STEPS // 10, sequence=start))
        return learner.finalize(job.id, job.token)  # type: ignore[return-value]

    def champion() -> int | None:
        with database.read() as session:
            return aliases.version_of(session, family.id, "champion")

    def comparison(version: int) -> Json | None:
        with database.read() as session:
            return session.get_one(WarpVersion, (family.id, version)).comparison

    the_judge = Judge(database, family.id, learner.epoch)
    first = next_version()
    the_judge.look()
    assert (champion(), comparison(first)) == (None, None)

    for task in range(14):
        evaluate(database, family, task, None, 1.0)
        evaluate(database, family, task, first, 0.8)
        the_judge.look()
        if task == 2:
            found = comparison(first)
            assert found is not None
            assert (found["verdict"], found["adamw"]["tasks"], champion()) == ("undecided", 3, None)
            evaluate(database, family, 0, None, 9.0, seed=8)  # a second seed for a task that was looked at
            evaluate(database, family, 0, first, 0.1, seed=8)
            the_judge.look()
            assert comparison(first) == found
    assert champion() == first
    with database.read() as session:
        row = session.get_one(Family, family.id)
        assert aliases.history(session, row, "champion", PageRequest()).items[0].reason == "promotion: guarded"

    second = next_version()
    for task in range(14):
        evaluate(database, family, task, second, 0.9)
    the_judge.look()
    found = comparison(second)
    assert found is not None
    assert (found["verdict"], found["number"], found["champion_version"], champion()) == ("keep", 2, first, first)
    assert found["adamw"]["wins"] == 14


def test_what_was_compared_with_a_champion_of_yesterday_is_not_written(database: Database) -> None:
    family = make_family(database, "other", promotion="guarded")
    epoch = database.write(lambda session: learning.claim_epoch(session, family.id, now=clock.now()))
    database.write(
        lambda session: learning.compared(session, family.id, epoch, 1, {"won": True}, champion=5, now=clock.now())
    )  # there is not even a version 1: it returns before it looks
    with pytest.raises(learning.StaleEpochError):
        database.write(
            lambda session: learning.compared(session, family.id, epoch - 1, 1, {}, champion=None, now=clock.now())
        )
