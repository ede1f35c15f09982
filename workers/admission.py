"""Which queued job starts next: pure functions from the queue and the cluster to one decision.

Between projects goes first whose share of the cluster is smallest, counted from what it holds now and what it used
lately; within a project priority and then age. A job too large for now blocks nobody. Nor is it starved: where it is
the first that does not fit and has waited for `patience_s`, it becomes *due*, one job at a time, and stays so. From
then on it goes before all others, and one of them starts only where the due one would still fit beside all that started
since. So it starts at the latest when those jobs have ended that ran when it became due, whatever else arrives. A job
of several workers starts with all of them or not at all.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from service.queue import Reason
from workers.policies import Need, Node, fits_now


@dataclass(frozen=True, slots=True)
class Waiting:
    """The first job of a lane of the queue."""

    id: str
    project: str
    lane: str
    priority: int
    need: Need
    waited_s: float
    """Since it was queued."""
    due_s: float | None = None
    """Since it became due."""


@dataclass(frozen=True, slots=True)
class Holding:
    """A job that has an attempt, and what that reserves."""

    project: str
    need: Need
    age_s: float
    """Since it was claimed."""


@dataclass(frozen=True, slots=True)
class Decision:
    """`start`: who is to be claimed now, None: nobody can. `due`: for whom room is being made."""

    start: Waiting | None
    due: Waiting | None = None
    reasons: Mapping[str, Reason] = field(default_factory=dict)
    """Lane → why its first job does not start, of those that were looked at."""


def decide(
    waiting: Sequence[Waiting],
    nodes: Sequence[Node],
    holding: Sequence[Holding],
    used: Mapping[str, float],
    *,
    patience_s: float,
) -> Decision:
    """Who starts next. `used`: project → its mean share of the cluster lately (0 to 1)."""
    reserved = [each.need for each in holding]
    shares = shares_of(nodes, holding)
    due = _due_already(waiting, nodes)
    reasons: dict[str, Reason] = {}
    for each in sorted(in_turn(waiting, shares, used), key=lambda each: each is not due):
        if fits_now(each.need, nodes, reserved):
            if due is None or each is due or _leaves_room(each, due, nodes, holding):
                return Decision(each, due, reasons)
            reasons[each.lane] = Reason("reserved", f"fits, but its place is kept for {due.id}, which waited longer")
        else:
            reasons[each.lane] = _no_room(each, nodes, reserved, shares)
            if due is None and each.waited_s >= patience_s and fits_now(each.need, nodes, []):
                due = each
    return Decision(None, due, reasons)


def _due_already(waiting: Sequence[Waiting], nodes: Sequence[Node]) -> Waiting | None:
    """The job for which room is being made, unless nothing could hold it any more."""
    due = [each for each in waiting if each.due_s is not None and fits_now(each.need, nodes, [])]
    return max(due, key=lambda each: each.due_s or 0.0, default=None)


def in_turn(waiting: Sequence[Waiting], shares: Mapping[str, float], used: Mapping[str, float]) -> list[Waiting]:
    """The order in which they are tried."""

    def turn(each: Waiting) -> tuple[float, str, int, str]:
        share = shares.get(each.project, 0.0) + used.get(each.project, 0.0)
        return share, each.project, -each.priority, each.id

    return sorted(waiting, key=turn)


def shares_of(nodes: Sequence[Node], holding: Sequence[Holding]) -> dict[str, float]:
    """Project → its share of the cluster now: of CPUs or of GPUs, whichever is larger (dominant resource fairness)."""
    cpus, gpus = sum(node.cpus for node in nodes), sum(node.gpus for node in nodes)
    held: dict[str, tuple[float, float]] = {}
    for each in holding:
        of_cpus, of_gpus = held.get(each.project, (0.0, 0.0))
        held[each.project] = (of_cpus + each.need.total_cpus, of_gpus + each.need.total_gpus)
    return {project: max(_part(c, cpus), _part(g, gpus)) for project, (c, g) in held.items()}


def _part(amount: float, total: float) -> float:
    return amount / total if total > 0 else 0.0


def _leaves_room(each: Waiting, due: Waiting, nodes: Sequence[Node], holding: Sequence[Holding]) -> bool:
    """Whether the due job fits beside this one and all that started since it was due."""
    passed = [other.need for other in holding if due.due_s is not None and other.age_s <= due.due_s]
    return fits_now(due.need, nodes, [*passed, each.need])


def _no_room(each: Waiting, nodes: Sequence[Node], reserved: Sequence[Need], shares: Mapping[str, float]) -> Reason:
    need = each.need
    for total, held, amount, unit in (
        (need.total_gpus, sum(other.total_gpus for other in reserved), sum(node.gpus for node in nodes), "GPU"),
        (need.total_cpus, sum(other.total_cpus for other in reserved), sum(node.cpus for node in nodes), "CPU"),
    ):
        free = max(0.0, amount - held)
        if total > free + 1e-9:
            message = f"needs {_count(total, unit)}, {free:g} of {amount:g} are free"
            return Reason("no_room", message + _own_share(each.project, shares))
    return Reason("no_room", f"needs {_workers(need)} at once, and what is free is spread over too many nodes")


def _own_share(project: str, shares: Mapping[str, float]) -> str:
    """What a project holds that is not alone: it may have its share."""
    mine = shares.get(project, 0.0)
    return f"; your project runs its share ({mine:.0%})" if mine > 0 and len(shares) > 1 else ""


def _count(amount: float, unit: str) -> str:
    return f"{amount:g} {unit}" + ("" if amount == 1 else "s")


def _workers(need: Need) -> str:
    each = _count(need.gpus, "GPU") if need.gpus else _count(need.cpus, "CPU")
    return f"{need.workers} worker{'' if need.workers == 1 else 's'} of {each}"
