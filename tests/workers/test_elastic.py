"""How many workers an elastic job has: single decisions, and random clusters on which no rule may break."""

from dataclasses import replace
from typing import Any

from hypothesis import Phase, given, settings
from hypothesis import strategies as st

from workers.admission import Holding, Waiting
from workers.elastic import Elastic, first_size, most_that_fit, resized
from workers.policies import Need, Node, fits_now

EVERY_S = 60.0
FOUR = (Node("a", 4, 0),)
TWO_AND_TWO = (Node("a", 2, 0), Node("b", 2, 0))
PHASES = (Phase.explicit, Phase.generate)


def elastic(workers: int, id_: str = "e", *, project: str = "p", cpus: float = 1, **more: Any) -> Elastic:
    said = {"least": 1, "most": 4, "is_settled": True, "still_s": EVERY_S, **more}
    return Elastic(id=id_, project=project, need=Need(workers, cpus, 0), **said)


def waiting(cpus: float = 1, workers: int = 1, *, project: str = "q", id_: str = "w") -> Waiting:
    return Waiting(id_, project, f"{project} {id_}", 0, Need(workers, cpus, 0), 0)


def change(
    jobs: list[Elastic], queue: list[Waiting] | None = None, nodes: tuple[Node, ...] = FOUR, rigid: float = 0
) -> dict[str, int]:
    held = [Holding("r", Need(1, rigid, 0), 0)] if rigid else []
    return resized(jobs, queue or [], nodes, held, {}, every_s=EVERY_S)


def test_it_starts_with_all_that_is_free_where_nobody_waits() -> None:
    assert first_size(Need(1, 1, 0), 8, [], FOUR, []) == 4
    assert first_size(Need(1, 1, 0), 2, [], FOUR, []) == 2
    assert first_size(Need(2, 1, 0), 8, [], FOUR, [Need(1, 1, 0)]) == 3


def test_it_starts_with_its_fewest_where_somebody_waits_who_could_be_placed() -> None:
    assert first_size(Need(1, 1, 0), 4, [waiting(4)], FOUR, []) == 1
    assert first_size(Need(1, 1, 0), 4, [waiting(5)], FOUR, []) == 4, "what could never fit makes nobody modest"


def test_it_grows_into_what_is_free() -> None:
    assert change([elastic(1)]) == {"e": 4}
    assert change([elastic(1)], rigid=2) == {"e": 2}
    assert change([elastic(1, most=3)]) == {"e": 3}
    assert change([elastic(4)]) == {}


def test_growth_counts_places_and_not_sums() -> None:
    assert change([elastic(1, cpus=1.5)], nodes=TWO_AND_TWO) == {"e": 2}, "three of 1.5 have no place on two nodes of 2"


def test_two_grow_alike_and_the_poorer_project_first() -> None:
    assert change([elastic(1, "a"), elastic(1, "b")]) == {"a": 2, "b": 2}
    assert change([elastic(2, "a"), elastic(1, "b", project="q")]) == {"b": 2}


def test_nobody_grows_while_one_waits() -> None:
    assert change([elastic(1)], [waiting(4)]) == {}


def test_it_gives_back_just_what_one_who_waits_needs() -> None:
    assert change([elastic(4)], [waiting()]) == {"e": 3}
    assert change([elastic(4)], [waiting(2)]) == {"e": 2}
    assert change([elastic(4, least=2)], [waiting(3)]) == {}, "it keeps its fewest"


def test_who_has_most_gives_first() -> None:
    assert change([elastic(3, "a"), elastic(1, "b", project="q")], [waiting()]) == {"a": 2}
    assert change([elastic(2, "a"), elastic(2, "b", project="q")], [waiting(2, project="z")]) == {"a": 1, "b": 1}


def test_only_those_give_whose_place_helps() -> None:
    """The one with most is asked first, but what it gives lies on the wrong node."""
    nodes = (Node("a", 3, 0), Node("b", 2, 1))
    jobs = [elastic(3, "a", cpus=1), elastic(2, "b", cpus=1)]
    assert set(change(jobs, [waiting(2)], nodes)) <= {"a", "b"}
    changed = change(jobs, [waiting(2)], nodes)
    after = [replace(each.need, workers=changed.get(each.id, each.need.workers)) for each in jobs]
    assert fits_now(Need(1, 2, 0), nodes, after)


def test_a_second_who_can_be_helped_is_where_the_first_cannot() -> None:
    queue = [waiting(4, id_="a"), waiting(1, id_="b")]
    assert change([elastic(4)], queue) == {"e": 3}


def test_a_change_under_way_is_waited_for() -> None:
    under_way = elastic(3, is_settled=False)
    assert change([under_way], [waiting()]) == {}, "the room is being made"
    assert change([under_way]) == {}


def test_nobody_is_changed_again_soon_or_shortly_before_its_end() -> None:
    for job in (elastic(1, still_s=EVERY_S - 1), elastic(1, eta_s=EVERY_S - 1)):
        assert change([job]) == {}
        assert change([replace(job, need=Need(4, 1, 0))], [waiting()]) == {}


def test_the_most_that_fit() -> None:
    assert most_that_fit(Need(1, 1, 0), 1, 9, FOUR, []) == 4
    assert most_that_fit(Need(1, 1, 0), 5, 9, FOUR, []) is None
    assert most_that_fit(Need(1, 1, 0), 2, 3, FOUR, []) == 3


needs = st.builds(Need, workers=st.integers(1, 3), cpus=st.sampled_from([0.5, 1, 2]), gpus=st.sampled_from([0, 1]))
jobs_ = st.builds(
    Elastic,
    id=st.just(""),
    project=st.sampled_from("pq"),
    need=needs,
    least=st.just(1),
    most=st.integers(3, 6),
    is_settled=st.booleans(),
    still_s=st.sampled_from([0.0, 100.0]),
)
clusters = st.lists(st.tuples(st.integers(1, 4), st.integers(0, 2)), min_size=1, max_size=4)


@settings(max_examples=150, deadline=None, phases=PHASES)
@given(clusters, st.lists(jobs_, max_size=4), st.lists(needs, max_size=2), st.lists(needs, max_size=3))
def test_whatever_changes_fits_and_helps(
    sizes: list[tuple[int, int]], jobs: list[Elastic], held: list[Need], wanted: list[Need]
) -> None:
    """Growth: what all have then has a place. Shrinking: one of those that wait has a place then, and had none."""
    nodes = tuple(Node(str(n), cpus, gpus) for n, (cpus, gpus) in enumerate(sizes))
    named = [replace(each, id=str(n)) for n, each in enumerate(jobs)]
    queue = [Waiting(f"w{n}", "z", f"z {n}", 0, need, 0) for n, need in enumerate(wanted)]
    rigid = [Holding("r", need, 0) for need in held]
    changed = resized(named, queue, nodes, rigid, {}, every_s=EVERY_S)
    after = [each.having(changed.get(each.id, each.need.workers)) for each in named]
    for before, now in zip(named, after, strict=True):
        assert min(before.need.workers, before.least) <= now.need.workers <= max(before.need.workers, before.most)
        assert now == before or before.may_change(EVERY_S)
    reserved = [*held, *(each.need for each in after)]
    if any(fits_now(each.need, nodes, []) for each in queue):
        assert all(changed[each.id] < each.need.workers for each in named if each.id in changed)
        assert not changed or any(fits_now(each.need, nodes, reserved) for each in queue)
    else:
        for each in (one for one in named if one.id in changed):
            rest = [*held, *(one.need for one in after if one.id != each.id)]
            assert fits_now(replace(each.need, workers=changed[each.id]), nodes, rest)
