"""What the dispatcher decides with: pure functions from what is known to what is to be done. They touch nothing.

Admission is ours, not Ray's: capacity is what the cluster reports minus what living attempts reserve, counted from the
database. Placement is first-fit over nodes; where Ray places otherwise, the attempt waits inside Ray. Whose turn it is
says `workers.admission`; what could never fit `service.cluster.ClusterState.shortage`, which the API uses too.
"""

import signal
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

from service.attempts import Failure
from service.spec import Resources

_EPSILON = 1e-9


@dataclass(frozen=True, slots=True)
class Node:
    """A living node of the cluster and all that it has."""

    id: str
    cpus: float
    gpus: float


@dataclass(frozen=True, slots=True)
class Need:
    """What an attempt reserves: `workers` times the same."""

    workers: int
    cpus: float
    gpus: float

    @classmethod
    def of(cls, resources: Resources, workers: int | None = None) -> "Need":
        """`workers`: how many there are at present, where their number may change; else the fewest."""
        return cls(workers or resources.min_workers, resources.cpus_per_worker, resources.gpus_per_worker)

    @property
    def total_cpus(self) -> float:
        return self.workers * self.cpus

    @property
    def total_gpus(self) -> float:
        return self.workers * self.gpus


def _take(free: list[list[float]], need: Need) -> bool:
    """Takes the need out of `free` ([cpus, gpus] of each node) by first fit; whether all workers found a place."""
    left = need.workers
    # What needs no GPU goes first where there are fewest, so that it does not take the CPUs beside free GPUs.
    for node in sorted(free, key=lambda node: node[1]) if not need.gpus else free:
        while left and node[0] + _EPSILON >= need.cpus and node[1] + _EPSILON >= need.gpus:
            node[0] -= need.cpus
            node[1] -= need.gpus
            left -= 1
    return left == 0


def _free(nodes: Iterable[Node], reserved: Iterable[Need]) -> list[list[float]]:
    free = [[node.cpus, node.gpus] for node in nodes]
    for need in sorted(reserved, key=lambda need: (need.gpus, need.cpus), reverse=True):
        _take(free, need)
    return free


def fits_now(need: Need, nodes: Sequence[Node], reserved: Sequence[Need]) -> bool:
    """Whether the need fits beside what is reserved."""
    cpus = sum(node.cpus for node in nodes) - sum(other.total_cpus for other in reserved)
    gpus = sum(node.gpus for node in nodes) - sum(other.total_gpus for other in reserved)
    if need.total_cpus > cpus + _EPSILON or need.total_gpus > gpus + _EPSILON:
        return False
    return _take(_free(nodes, reserved), need)


def failure_of_exit(code: int | None, *, stopping: bool) -> Failure:
    """What to record of an attempt whose process ended without recording its outcome; None: it was not there."""
    if stopping:
        return Failure("preemption", "stopped", "The service was stopped while the attempt ran.", True)
    if code is None:
        return Failure("infrastructure", "process_gone", "The attempt's process is gone.", True)
    if code == -signal.SIGKILL:
        message = "The attempt's process was killed (SIGKILL); when memory runs out, the system does that."
        return Failure("infrastructure", "killed", message, True)
    if code < 0:
        name = signal.Signals(-code).name
        return Failure("infrastructure", "killed", f"The attempt's process ended by {name}.", True)
    return Failure("infrastructure", "exited", f"The attempt's process ended with code {code} and no outcome.", True)


LEASE_EXPIRED = Failure(
    "infrastructure", "lease_expired", "The attempt gave no sign of life for its whole lease.", True
)
NOT_STOPPED = Failure("preemption", "not_stopped", "The attempt did not stop within its grace, and was ended.", True)


def idle_learners(last_active: Mapping[int, float], now: float, idle_s: float) -> set[int]:
    """Families whose meta-learner had nothing to do for `idle_s`. Times are monotonic seconds."""
    return {family for family, seen in last_active.items() if now - seen >= idle_s}


def may_warm(steps: Iterable[int], since_launch_s: float, *, patience_s: float = 20.0) -> bool:
    """Whether another warm runner may start: its imports take a processor for seconds, so it lets attempts get to their
    first step before. `steps`: how far the living attempts are; who takes longer than `patience_s` is not waited for.
    """
    return since_launch_s >= patience_s or all(step > 0 for step in steps)
