"""When a loop is ended from outside."""

from workers.failures import Cause
from workers.oversight import Oversight
from workers.reporting import Outcome


def oversight(**fields: bool) -> Oversight:
    return Oversight(grace_s=10, stall_s=100, began=1000, **fields)


def test_a_loop_that_moves_is_left_alone() -> None:
    watch = oversight()
    assert [watch.judge(1000 + 90 * step, step, None) for step in range(5)] == [None] * 5


def test_user_code_that_stands_still_is_its_authors_failure() -> None:
    cause = oversight(runs_code=True).judge(1100, None, None)
    assert isinstance(cause, Cause)
    assert (cause.category, cause.code, cause.retryable) == ("user", "stalled", False)
    assert "loop without end" in cause.message


def test_one_that_stands_still_is_ended_and_tried_again() -> None:
    watch = oversight()
    watch.judge(1001, 3, None)
    assert watch.judge(1100, 3, None) is None
    cause = watch.judge(1101, 3, None)
    assert isinstance(cause, Cause)
    assert (cause.code, cause.retryable) == ("stalled", True)
    assert "at step 3" in cause.message


def test_one_that_never_begins_too() -> None:
    cause = oversight().judge(1100, None, None)
    assert isinstance(cause, Cause)
    assert "before its first step" in cause.message


def test_slow_steps_are_no_standstill() -> None:
    watch = oversight()
    watch.judge(1001, 1, None)
    watch.judge(1051, 2, None)
    assert watch.judge(1051 + 499, 2, None) is None
    assert watch.judge(1051 + 500, 2, None) is not None


def test_who_is_asked_has_the_grace() -> None:
    watch = oversight()
    assert watch.judge(1001, 4, "pause") is None
    assert watch.judge(1010, 4, "pause") is None
    assert watch.judge(1011, 4, "pause") == Outcome(4, 0.0, stopped="pause")


def test_workers_that_are_still_placed_have_nothing_to_save() -> None:
    assert oversight().judge(1001, None, "cancel") is None
    assert oversight(needs_begin=True).judge(1001, None, "cancel") == Outcome(0, 0.0, stopped="cancel")
    assert oversight(needs_begin=True).judge(1001, 1, "cancel") is None
