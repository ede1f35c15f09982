"""Which way a job is trained, what a worker forgets, and whose last word counts."""

import os
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
    assert not trains_here(code_plan())
    with pytest.raises(AssertionError, match="a process of its own"):
        prepare_model(code_plan(), Group())


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
