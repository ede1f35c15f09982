"""Whose turn it is: on single decisions, and on random queues played to their end."""

import heapq
from dataclasses import dataclass, field, replace

import pytest
from hypothesis import Phase, given, settings
from hypothesis import strategies as st

from workers.admission import Holding, Waiting, decide, in_turn, shares_of
from workers.policies import Need, Node, fits_now

PATIENCE_S = 10.0
PHASES = (Phase.explicit, Phase.generate)
FOUR = (Node("a", 4, 0),)


def waiting(name: str, cpus: float = 1, *, project: str = "p", priority: int = 0, waited: float = 0) -> Waiting:
    return Waiting(name, project, f"{project} {name}", priority, Need(1, cpus, 0), waited)


def held(cpus: float, *, project: str = "p", age: float = 100) -> Holding:
    return Holding(project, Need(1, cpus, 0), age)


def started(queue: list[Waiting], holding: list[Holding], used: dict[str, float] | None = None) -> str | None:
    decision = decide(queue, FOUR, holding, used or {}, patience_s=PATIENCE_S)
    return decision.start.id if decision.start else None


def test_priority_then_age_within_a_project() -> None:
    queue = [waiting("b"), waiting("c", priority=5), waiting("a")]
    assert [each.id for each in in_turn(queue, {}, {})] == ["c", "a", "b"]


def test_who_holds_less_goes_first() -> None:
    queue = [waiting("mine", project="busy", priority=9), waiting("yours", project="idle")]
    assert started(queue, [held(2, project="busy")]) == "yours"


def test_who_used_less_lately_goes_first() -> None:
    queue = [waiting("a", project="heavy"), waiting("b", project="light")]
    assert started(queue, [], {"heavy": 0.5, "light": 0.1}) == "b"


def test_the_share_is_of_what_is_scarcest() -> None:
    nodes = (Node("a", 8, 2),)
    shares = shares_of(nodes, [Holding("p", Need(1, 1, 1), 0), Holding("q", Need(2, 1, 0), 0)])
    assert shares == {"p": 0.5, "q": 0.25}


def test_a_job_too_large_for_now_blocks_nobody_while_it_is_young() -> None:
    assert started([waiting("a", 4), waiting("b", 1)], [held(1)]) == "b"


def test_when_it_is_due_only_what_fits_beside_it_passes() -> None:
    due = replace(waiting("a", 3), due_s=5)
    assert started([due, waiting("b", 2)], [held(2)]) is None
    assert started([due, waiting("b", 1)], [held(2)]) == "b"
    assert started([due, waiting("b", 1)], [held(2), held(1, age=1)]) is None, "one has passed it already"


def test_what_could_never_fit_makes_nobody_wait() -> None:
    assert started([waiting("a", 5, waited=1000), waiting("b", 1)], [held(1)]) == "b"


def test_each_is_told_why_it_waits() -> None:
    queue = [waiting("a", 4, waited=PATIENCE_S), waiting("b", 2)]
    decision = decide(queue, FOUR, [held(1), held(1, project="q")], {}, patience_s=PATIENCE_S)
    assert decision.start is None
    assert {lane: reason.code for lane, reason in decision.reasons.items()} == {"p a": "no_room", "p b": "reserved"}
    assert decision.reasons["p a"].message == "needs 4 CPUs, 2 of 4 are free; your project runs its share (25%)"
    assert "kept for a" in decision.reasons["p b"].message


def test_workers_that_fit_on_no_node_together_are_told() -> None:
    nodes = (Node("a", 2, 0), Node("b", 2, 0))
    decision = decide([waiting("a", 1)], nodes, [held(1.1), held(1.1)], {}, patience_s=PATIENCE_S)
    assert "spread over too many nodes" in decision.reasons["p a"].message


@dataclass(order=True)
class Running:
    ends: float
    id: str
    project: str = field(compare=False)
    need: Need = field(compare=False)
    since: float = field(compare=False)


@dataclass
class Job:
    id: str
    project: str
    priority: int
    need: Need
    arrives: float
    lasts: float


jobs = st.builds(
    Job,
    id=st.just(""),
    project=st.sampled_from("pqr"),
    priority=st.integers(0, 2),
    need=st.builds(Need, workers=st.integers(1, 3), cpus=st.sampled_from([0.5, 1, 2, 3]), gpus=st.sampled_from([0, 1])),
    arrives=st.floats(0, 50),
    lasts=st.floats(0.5, 20),
)
clusters = st.lists(st.tuples(st.integers(1, 4), st.integers(0, 2)), min_size=1, max_size=4)


@dataclass
class World:
    """A cluster that runs a queue; nodes never change, and every job ends."""

    nodes: tuple[Node, ...]
    now: float = 0.0
    queue: list[Job] = field(default_factory=list)
    running: list[Running] = field(default_factory=list)
    started: dict[str, float] = field(default_factory=dict)
    due: dict[str, float] = field(default_factory=dict)

    def look(self) -> None:
        while (chosen := self._decide()) is not None:
            job = next(each for each in self.queue if each.id == chosen)
            reserved = [other.need for other in self.running]
            assert fits_now(job.need, self.nodes, reserved), "more was given than there is"
            better = [o for o in self.queue if o.project == job.project and o.need == job.need]
            assert min(better, key=lambda o: (-o.priority, o.id)).id == job.id, "the order of equals was not kept"
            self.queue.remove(job)
            self.started[job.id] = self.now
            heapq.heappush(self.running, Running(self.now + job.lasts, job.id, job.project, job.need, self.now))

    def _decide(self) -> str | None:
        heads: dict[tuple[str, Need], Job] = {}
        for job in sorted(self.queue, key=lambda each: (-each.priority, each.id)):
            heads.setdefault((job.project, job.need), job)
        lines = [
            Waiting(j.id, j.project, str(key), j.priority, j.need, self.now - j.arrives, self._due_s(j.id))
            for key, j in heads.items()
        ]
        holding = [Holding(each.project, each.need, self.now - each.since) for each in self.running]
        decision = decide(lines, self.nodes, holding, {}, patience_s=PATIENCE_S)
        if decision.due is not None:
            self.due.setdefault(decision.due.id, self.now)
        return decision.start.id if decision.start else None

    def _due_s(self, id_: str) -> float | None:
        return self.now - self.due[id_] if id_ in self.due else None

    def play(self, arriving: list[Job]) -> None:
        arriving = sorted(arriving, key=lambda each: each.arrives)
        while arriving or self.running:
            next_end = self.running[0].ends if self.running else float("inf")
            if arriving and arriving[0].arrives <= next_end:
                self.now = arriving[0].arrives
                self.queue.append(arriving.pop(0))
            else:
                self.now = heapq.heappop(self.running).ends
            self.look()


@settings(max_examples=60, deadline=None, phases=PHASES)
@given(clusters, st.lists(jobs, max_size=25))
def test_nothing_is_forgotten_and_nothing_is_given_twice(sizes: list[tuple[int, int]], arriving: list[Job]) -> None:
    world = World(tuple(Node(str(n), cpus, gpus) for n, (cpus, gpus) in enumerate(sizes)))
    for number, job in enumerate(arriving):
        job.id = f"{number:03}"
    world.play(arriving)
    assert [job.id for job in world.queue if fits_now(job.need, world.nodes, [])] == []


@settings(max_examples=40, deadline=None, phases=PHASES)
@given(st.integers(2, 6), st.lists(st.tuples(st.integers(1, 2), st.floats(1, 15)), min_size=80, max_size=120))
def test_small_jobs_without_end_do_not_starve_a_large_one(cpus: int, small: list[tuple[int, float]]) -> None:
    """It waits for its patience, for one that was due before, and for what ran then; more others change nothing."""
    world = World((Node("a", cpus, 0),))
    stream = [
        Job(f"s{n:03}", "p", 1, Need(1, min(size, cpus), 0), 0.3 * n, lasts) for n, (size, lasts) in enumerate(small)
    ]
    large = Job("large", "q", 0, Need(1, cpus, 0), 5.0, 1.0)
    world.play([*stream, large])
    assert world.started["large"] - large.arrives <= PATIENCE_S + 2 * 15 + 0.3 + 1e-6


@pytest.mark.parametrize("workers", [2, 3])
def test_all_workers_start_or_none(workers: int) -> None:
    wants = Waiting("gang", "p", "p gang", 0, Need(workers, 2, 0), 0)
    decision = decide([wants], FOUR, [], {}, patience_s=PATIENCE_S)
    assert (decision.start is not None) == (workers == 2)
