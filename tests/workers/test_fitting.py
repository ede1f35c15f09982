"""Which way a job is trained, what a worker forgets, and whose last word counts."""

import os
from dataclasses import replace
from pathlib import Path

import pytest

from service.settings import Settings
from tests.workers.code.packed import code_plan
from tests.workers.plans import plan
from workers.exchange import LearnerExchange, NullExchange
from workers.failures import Cause
from workers.fitting import InProcess, exchange_for, fit_for, forget_settings, last_word, trains_here
from workers.group import Group
from workers.mailbox import Ended, Failed
from workers.preparing import prepare_model
from workers.reporting import NullReporter, Outcome


def test_one_worker_without_a_gpu_trains_here(tmp_path: Path) -> None:
    assert isinstance(fit_for(plan(), Settings(), tmp_path), InProcess)


def test_user_code_never_trains_here(tmp_path: Path) -> None:
    """Here are credentials, however few workers it asks for."""
    assert not trains_here(code_plan(), Settings())
    with pytest.raises(AssertionError, match="a process of its own"):
        prepare_model(code_plan(), Group())


@pytest.mark.parametrize(
    ("resources", "launcher", "here"),
    [
        ({"workers": 1}, "process", True),
        ({"workers": 1}, "ray-jobs", False),
        ({"workers": 1, "gpus_per_worker": 1}, "process", False),
        ({"workers": 2}, "process", False),
        ({"workers": {"min": 1, "max": 2}}, "process", False),
    ],
)
def test_who_may_need_more_than_this_process_trains_on_the_cluster(
    resources: dict[str, object], launcher: str, here: bool
) -> None:
    given = plan()
    spec = given.spec.model_validate({**given.spec.model_dump(), "resources": resources})
    assert trains_here(replace(given, spec=spec), Settings(launcher=launcher)) is here


def test_workers_forget_where_the_database_is(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("WARPADAM_DATABASE_URL", "postgresql://secret")
    monkeypatch.setenv("PATH_OF_OTHERS", "stays")
    forget_settings()
    assert not [name for name in os.environ if name.startswith("WARPADAM_")]
    assert os.environ["PATH_OF_OTHERS"] == "stays"


def test_a_failure_goes_before_an_end_and_the_first_before_the_others() -> None:
    first, second = Cause("user", "not_finite", "a"), Cause("infrastructure", "worker_failed", "b")
    end = Ended(Outcome(1, 0.1))
    assert last_word([end, Failed(1, first), Failed(0, second)]) == first
    assert last_word([Failed(0, second), Failed(1, first)]) == first  # who lost a peer only saw what the user's did
    assert last_word([Failed(0, second), end]) == second
    assert last_word([end]) == end
    assert last_word([]) is None


def test_who_has_nothing_to_say_needs_no_meta_learner() -> None:
    assert isinstance(exchange_for(plan(optimizer={"learn": "none"}), "tests", NullReporter()), NullExchange)
    assert isinstance(exchange_for(plan(), "tests", NullReporter()), LearnerExchange)
    assert isinstance(
        exchange_for(plan(optimizer={"learn": "none", "follow": True}), "tests", NullReporter()), LearnerExchange
    )
