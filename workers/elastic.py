"""How many workers an elastic job has: pure functions from the queue and the cluster to numbers.

What it has beyond its fewest is lent. It starts with more, and grows, only while nobody waits who could ever be placed;
and it gives back, one worker after the other, as soon as that lets somebody start. Every change restarts its group of
workers, so none is changed by choice again before `every_s`, nor one that would end before that.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

from workers.admission import Holding, Waiting, in_turn, shares_of
from workers.policies import Need, Node, fits_now


@dataclass(frozen=True, slots=True)
class Elastic:
    """An elastic job at work."""

    id: str
    project: str
    need: Need
    """With as many workers as it may have."""
    least: int
    most: int
    is_settled: bool
    """Whether it has as many workers as it may have: else a change is under way."""
    still_s: float
    """Since its present group began."""
    eta_s: float | None = None

    def having(self, workers: int) -> "Elastic":
        return replace(self, need=replace(self.need, workers=workers))

    def may_change(self, every_s: float) -> bool:
        ends_soon = self.eta_s is not None and self.eta_s < every_s
        return self.is_settled and self.still_s >= every_s and not ends_soon


def first_size(
    need: Need, most: int, others: Sequence[Waiting], nodes: Sequence[Node], reserved: Sequence[Need]
) -> int:
    """How many workers a job that needs at least `need` starts with; `others` wait beside it."""
    if any(fits_now(each.need, nodes, []) for each in others):
        return need.workers
    return most_that_fit(need, need.workers, most, nodes, reserved) or need.workers


def most_that_fit(need: Need, least: int, most: int, nodes: Sequence[Node], reserved: Sequence[Need]) -> int | None:
    """The largest number from `least` to `most` that fits beside what is reserved; None: not even the least does."""
    found, low, high = None, least, most
    while low <= high:
        middle = (low + high) // 2
        if fits_now(replace(need, workers=middle), nodes, reserved):
            found, low = middle, middle + 1
        else:
            high = middle - 1
    return found


def resized(
    elastic: Sequence[Elastic],
    waiting: Sequence[Waiting],
    nodes: Sequence[Node],
    rigid: Sequence[Holding],
    used: Mapping[str, float],
    *,
    every_s: float,
) -> dict[str, int]:
    """Job → its new number of workers, of those that are to change. `rigid` is what all other jobs hold."""
    hopeful = [each for each in waiting if fits_now(each.need, nodes, [])]
    changed = (
        _shrunk(elastic, hopeful, nodes, rigid, used, every_s) if hopeful else _grown(elastic, nodes, rigid, every_s)
    )
    before = {each.id: each.need.workers for each in elastic}
    return {each.id: each.need.workers for each in changed if each.need.workers != before[each.id]}


def _shrunk(
    elastic: Sequence[Elastic],
    waiting: Sequence[Waiting],
    nodes: Sequence[Node],
    rigid: Sequence[Holding],
    used: Mapping[str, float],
    every_s: float,
) -> Sequence[Elastic]:
    """Just enough workers fewer for the first of those that wait who can be helped so."""
    order = in_turn(waiting, shares_of(nodes, _holding(elastic, rigid)), used)
    for each in sorted(order, key=lambda each: each.due_s is None):
        if _fits(each.need, nodes, elastic, rigid):
            return elastic  # what was taken before makes the room
        fewer = {one.id: one for one in elastic}
        while not _fits(each.need, nodes, list(fewer.values()), rigid):
            givers = [one for one in fewer.values() if one.need.workers > one.least and one.may_change(every_s)]
            if not givers:
                break
            shares = shares_of(nodes, _holding(list(fewer.values()), rigid))
            giver = max(givers, key=lambda one: (shares.get(one.project, 0.0), one.need.workers - one.least, one.id))
            fewer[giver.id] = giver.having(giver.need.workers - 1)
        else:
            return _without_needless(elastic, fewer, each.need, nodes, rigid)
    return elastic


def _without_needless(
    elastic: Sequence[Elastic],
    fewer: Mapping[str, Elastic],
    need: Need,
    nodes: Sequence[Node],
    rigid: Sequence[Holding],
) -> Sequence[Elastic]:
    """Leaves those alone whose workers were on the wrong nodes to help."""
    kept = dict(fewer)
    for one in elastic:
        tried = {**kept, one.id: one}
        if _fits(need, nodes, list(tried.values()), rigid):
            kept = tried
    return list(kept.values())


def _grown(
    elastic: Sequence[Elastic], nodes: Sequence[Node], rigid: Sequence[Holding], every_s: float
) -> Sequence[Elastic]:
    """One worker after the other to the project that has least, as long as there is room."""
    more = {one.id: one for one in elastic}
    full: set[str] = set()
    while True:
        shares = shares_of(nodes, _holding(list(more.values()), rigid))
        takers = [
            one
            for one in more.values()
            if one.need.workers < one.most and one.may_change(every_s) and one.id not in full
        ]
        if not takers:
            return list(more.values())
        taker = min(takers, key=lambda one: (shares.get(one.project, 0.0), one.need.workers, one.id))
        others = [one for one in more.values() if one.id != taker.id]
        grown = taker.having(taker.need.workers + 1)
        if _fits(grown.need, nodes, others, rigid):
            more[taker.id] = grown
        else:
            full.add(taker.id)


def _fits(need: Need, nodes: Sequence[Node], elastic: Sequence[Elastic], rigid: Sequence[Holding]) -> bool:
    return fits_now(need, nodes, [each.need for each in _holding(elastic, rigid)])


def _holding(elastic: Sequence[Elastic], rigid: Sequence[Holding]) -> list[Holding]:
    return [*rigid, *(Holding(one.project, one.need, 0.0) for one in elastic)]
