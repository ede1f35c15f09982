"""Decisions of the dispatcher, without anything that they are about."""

import pytest

from service.spec import Resources, WorkerRange
from workers.backoff import backoff
from workers.policies import Need, Node, failure_of_exit, fits_now, idle_learners, may_warm

TWO_NODES = (Node("a", cpus=4, gpus=2), Node("b", cpus=4, gpus=0))


def need(workers: int = 1, cpus: float = 1, gpus: float = 0) -> Need:
    return Need(workers, cpus, gpus)


def test_an_elastic_job_needs_its_smallest_group() -> None:
    resources = Resources(workers=WorkerRange(min=2, max=8), cpus_per_worker=0.5, gpus_per_worker=1)
    assert Need.of(resources) == Need(2, 0.5, 1)


@pytest.mark.parametrize(
    ("wanted", "fits"),
    [
        (need(8, 1), True),
        (need(9, 1), False),
        (need(2, 3), True),
        (need(3, 3), False),  # 9 of 8 CPUs
        (need(1, 5), False),  # no node has 5
        (need(2, 1, 1), True),
        (need(3, 1, 1), False),
        (need(80, 0.1), True),  # tenths add up without a rounding error in the way
    ],
)
def test_an_empty_cluster_holds_what_its_nodes_hold(wanted: Need, fits: bool) -> None:
    assert fits_now(wanted, TWO_NODES, []) is fits


def test_what_is_reserved_is_not_free() -> None:
    assert fits_now(need(4), TWO_NODES, [need(4)])
    assert not fits_now(need(5), TWO_NODES, [need(4)])


def test_workers_that_fit_in_sum_but_on_no_node_do_not_fit() -> None:
    nodes = (Node("a", 2, 0), Node("b", 2, 0))
    assert not fits_now(need(1, 2), nodes, [need(1, 1), need(1, 2)])
    assert not fits_now(need(1, 3), nodes, [])


def test_jobs_without_gpus_leave_the_cpus_beside_gpus_free() -> None:
    assert fits_now(need(2, 1, 1), TWO_NODES, [need(4, 1)])
    assert not fits_now(need(2, 1, 1), TWO_NODES, [need(7, 1)])


def test_nothing_fits_where_there_are_no_nodes() -> None:
    assert not fits_now(need(), (), [])


@pytest.mark.parametrize(
    ("code", "stopping", "category", "says"),
    [
        (-9, False, "infrastructure", "memory"),
        (-11, False, "infrastructure", "SIGSEGV"),
        (3, False, "infrastructure", "code 3"),
        (0, False, "infrastructure", "code 0"),
        (None, False, "infrastructure", "gone"),
        (-15, True, "preemption", "stopped"),
    ],
)
def test_an_end_without_a_word_is_explained(code: int | None, stopping: bool, category: str, says: str) -> None:
    failure = failure_of_exit(code, stopping=stopping)
    assert failure.category == category
    assert failure.retryable
    assert says in failure.message


def test_learners_are_idle_after_their_time() -> None:
    assert idle_learners({1: 0.0, 2: 50.0}, now=60.0, idle_s=60.0) == {1}


def test_backoff_doubles_up_to_its_end() -> None:
    assert [backoff(n, 1, 30) for n in (1, 2, 3, 6, 5000)] == [1, 2, 4, 30, 30]


@pytest.mark.parametrize(
    ("steps", "since", "may"), [([], 0, True), ([5, 1], 1, True), ([5, 0], 1, False), ([5, 0], 20, True)]
)
def test_a_warm_runner_does_not_slow_down_who_is_starting(steps: list[int], since: float, may: bool) -> None:
    assert may_warm(steps, since) is may
