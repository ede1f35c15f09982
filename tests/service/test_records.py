"""Events and metrics."""

import itertools
import random
import threading
from concurrent.futures import ThreadPoolExecutor

import pytest
from sqlalchemy.orm import Session

from service import attempts, events, metrics
from service.errors import InvalidRequest
from service.metrics import Point
from service.pages import PageRequest
from tests.service.kit import NOW, Bench, later


def test_events_are_numbered_without_gaps_whoever_writes(bench: Bench) -> None:
    fence = bench.running()
    barrier = threading.Barrier(4)

    def writer(name: int) -> None:
        barrier.wait()
        for number in range(5):
            data = {"writer": name, "number": number}
            bench.write(lambda session, said=data: attempts.add_event(session, fence, "progress", "info", "", said))

    with ThreadPoolExecutor(4) as pool:
        for future in [pool.submit(writer, name) for name in range(4)]:
            future.result()
    found = bench.events(fence.job_id)
    assert [event.seq for event in found] == list(range(1, len(found) + 1))
    for name in range(4):
        numbers = [event.data["number"] for event in found if event.data.get("writer") == name]
        assert numbers == list(range(5))


def test_a_transaction_that_is_undone_leaves_no_gap(bench: Bench) -> None:
    job_id = bench.submit().id

    def broken(session: Session) -> None:
        events.add(session, job_id, "warning", "never seen")
        raise KeyError

    with pytest.raises(KeyError):
        bench.write(broken)
    bench.write(lambda session: events.add(session, job_id, "warning", "seen"))
    assert [(event.seq, event.message) for event in bench.events(job_id)][1:] == [(2, "seen")]


def test_reading_on_from_an_event(bench: Bench) -> None:
    job_id = bench.submit().id
    for number in range(4):
        bench.write(lambda session, n=number: events.add(session, job_id, "warning", str(n)))
    found = bench.events(job_id)
    seq = bench.read(lambda session: events.seq_of(session, job_id, found[2].id))
    assert seq == 3
    rest = bench.read(lambda session: events.after(session, job_id, 3, 1))
    assert [event.id for event in rest] == [found[3].id]
    assert bench.read(lambda session: events.seq_of(session, "job_other", found[2].id)) is None
    page = bench.read(lambda session: events.list_(session, job_id, PageRequest(2)))
    assert [event.seq for event in page.items] == [1, 2]
    more = bench.read(lambda session: events.list_(session, job_id, PageRequest(9, page.next_cursor)))
    assert [event.seq for event in more.items] == [3, 4, 5]


def series(bench: Bench, n: int) -> str:
    job_id = bench.submit().id
    points = [Point("val_loss", step * 3, float(step), NOW) for step in range(n)]
    bench.write(lambda session: metrics.write(session, job_id, [*points, Point("lr", 0, 0.5, later(1))]))
    return job_id


@pytest.mark.parametrize(("n", "most"), [(1, 2), (2, 2), (3, 2), (10, 4), (11, 10), (2500, 7), (5, 100)])
def test_thinning_keeps_first_and_last_and_is_even(bench: Bench, n: int, most: int) -> None:
    job_id = series(bench, n)
    kept = bench.read(lambda session: metrics.read(session, job_id, ["val_loss"], most))["val_loss"]
    places = [round(point.value) for point in kept]
    assert (places[0], places[-1], len(places)) == (0, n - 1, min(n, most))
    assert [point.step for point in kept] == [3 * place for place in places]
    gaps = [after - before for before, after in itertools.pairwise(places)]
    assert not gaps or max(gaps) - min(gaps) <= 1


def test_thinning_is_even_in_steps_where_points_are_not(bench: Bench) -> None:
    """Of a thousand points close together and some far apart the far ones are not thinned away."""
    job_id = bench.submit().id
    steps = [*range(1000), 5000, 9000, 10_000]
    bench.write(lambda session: metrics.write(session, job_id, [Point("a", step, step / 2, NOW) for step in steps]))
    kept = [point.step for point in bench.read(lambda session: metrics.read(session, job_id, ["a"], 11))["a"]]
    assert kept == [0, 5000, 9000, 10_000]
    more = [point.step for point in bench.read(lambda session: metrics.read(session, job_id, ["a"], 101))["a"]]
    assert more == [*range(0, 1000, 100), 5000, 9000, 10_000]
    assert bench.read(lambda session: metrics.read(session, job_id, ["a"], 2))["a"][-1].step == 10_000


@pytest.mark.parametrize("most", [2, 3, 10, 64])
def test_what_is_kept_is_the_first_of_each_interval(bench: Bench, most: int) -> None:
    """As the definition says it, for several names at once, each with gaps of its own."""
    job_id, draw = bench.submit().id, random.Random(most)
    steps = {"few": [5], "some": sorted(draw.sample(range(10**12), 50)), "many": sorted(draw.sample(range(900), 300))}
    points = [Point(name, step, float(step), NOW) for name, given in steps.items() for step in given]
    bench.write(lambda session: metrics.write(session, job_id, points))

    def expected(given: list[int]) -> list[int]:
        if len(given) <= most:
            return given
        first, span, kept = given[0], given[-1] - given[0], dict[int, int]()
        for step in given:
            kept.setdefault((step - first) * (most - 1) // span, step)
        return list(kept.values())

    for asked in (None, ["many", "few"]):
        found = bench.read(lambda session, asked=asked: metrics.read(session, job_id, asked, most))  # type: ignore[misc]
        told = {name: [point.step for point in kept] for name, kept in found.items()}
        assert told == {name: expected(given) for name, given in steps.items() if asked is None or name in asked}


def test_names(bench: Bench) -> None:
    job_id = series(bench, 3)
    assert {name: len(points) for name, points in bench.read(lambda s: metrics.read(s, job_id)).items()} == {
        "lr": 1,
        "val_loss": 3,
    }
    asked = bench.read(lambda session: metrics.read(session, job_id, ["lr", "grad_norm"]))
    assert asked == {"lr": [Point("lr", 0, 0.5, later(1))], "grad_norm": []}
    with pytest.raises(InvalidRequest):
        bench.read(lambda session: metrics.read(session, job_id, None, 1))


def test_the_last_value_of_a_step_wins_and_what_is_not_finite_is_left_out(bench: Bench) -> None:
    fence = bench.running()
    told = [("a", 1, 1.0), ("a", 1, 2.0), ("a", 2, float("nan")), ("a", 3, float("inf"))]
    points = [Point(name, step, value, NOW) for name, step, value in told]
    bench.write(lambda session: attempts.add_metrics(session, fence, points))
    bench.write(lambda session: attempts.add_metrics(session, fence, [Point("a", 1, 3.0, later(2))]))
    assert bench.read(lambda session: metrics.read(session, fence.job_id)) == {"a": [Point("a", 1, 3.0, later(2))]}
    bench.write(lambda session: attempts.add_metrics(session, fence, []))
