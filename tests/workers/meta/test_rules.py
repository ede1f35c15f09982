"""A family that learns by hypergradients: through the ledger, published, restarted, derived from the ledger again."""

import pytest

from service.db.models import Family
from service.db.session import Database
from service.storage import Storage
from tests.families import contribution, make_job, paired_sums
from tests.workers.meta.conftest import StartLearner
from tests.workers.meta.test_learner import newest, send, verify
from warpadam.learn.statistics import Contribution
from workers.meta.learner import Learner


def paired(job, start: int, end: int, **fields: int) -> Contribution:
    return contribution(job, start, end, rule="hypergradient", sums=paired_sums(end - start, start), **fields)


def test_p_is_published_survives_a_restart_and_follows_from_the_ledger_alone(
    database: Database, storage: Storage, family: Family, start_learner: StartLearner
) -> None:
    jobs = [make_job(database, family, learn="hypergradient") for _ in range(2)]
    first = start_learner()
    for job in jobs:
        assert send(first, job, paired(job, 0, 50)).refused is None
    assert first.finalize(jobs[0].id, 1) is not None
    second = start_learner()
    assert send(second, jobs[1], paired(jobs[1], 50, 80, sequence=1)).refused is None
    version = second.finalize(jobs[1].id, 1)
    row = newest(database, family)
    assert (row.version, row.rule) == (version, "hypergradient")
    assert row.solved_with["solver"] == "cayley ascent float64, tuned from covariance"
    found = verify(database, storage, family)
    assert (found.problems, found.pending) == ([], 0)


@pytest.mark.parametrize(("first", "then"), [("covariance", "hypergradient"), ("hypergradient", "covariance")])
def test_the_first_contribution_decides_by_which_rule_a_family_learns(
    database: Database, family: Family, learner: Learner, start_learner: StartLearner, first: str, then: str
) -> None:
    made = {"covariance": contribution, "hypergradient": paired}
    one, other = (make_job(database, family, learn=rule) for rule in (first, then))
    assert send(learner, one, made[first](one, 0, 50)).refused is None
    for later in (lambda: learner, start_learner):  # the second has read the rule from the ledger
        refused = send(later(), other, made[then](other, 0, 50)).refused
        assert refused is not None
        assert refused["code"] == "wrong_rule"


def test_of_two_first_contributions_at_once_the_ledger_takes_one_rule(
    database: Database, family: Family, learner: Learner, monkeypatch: pytest.MonkeyPatch
) -> None:
    one, other = make_job(database, family), make_job(database, family, learn="hypergradient")
    monkeypatch.setattr(learner, "_apply", lambda contribution: None)  # as if both were checked before either applied
    assert send(learner, one, contribution(one, 0, 50)).refused is None
    refused = send(learner, other, paired(other, 0, 50)).refused
    assert refused == {"code": "wrong_rule", "message": "family patches learns by covariance, not by hypergradient"}
