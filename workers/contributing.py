"""What a job observes for its family, cut into contributions.

Steps are observed from the acknowledged watermark on, so that none counts twice after a resume. The keys are split over
the ranks; at an exchange the leader gathers the shares into one contribution for the half-open interval of steps since
the last. A meta-learner that is still busy just lets the interval grow.
"""

from collections.abc import Iterable, Mapping
from typing import Protocol

from torch import Tensor

from service.agreed import GROUP_SEQUENCES
from warpadam.learn import RULES, Contribution
from warpadam.shapes import AxisKeys, parse_hidden_key, sizes_by_key
from workers.exchange import Exchange
from workers.group import Group
from workers.plan import Plan


class Contributor(Protocol):
    """Collective, but for `wants`, which the leader answers."""

    def observe(self, step: int, gradients: Iterable[tuple[str, Tensor]]) -> None: ...

    def wants(self, end: int) -> bool:
        """Whether to exchange once the steps before `end` are done."""
        ...

    def send(self, end: int, version: int | None) -> None: ...

    def flush(self, end: int, version: int | None) -> None:
        """Sends what is left and waits until it is acknowledged."""
        ...


class Following:
    """Contributes nothing; asks for newer versions of P where its exchange is not a null one."""

    def __init__(self, exchange: Exchange, sync_every: int, start: int) -> None:
        self._exchange, self._sync_every, self._last = exchange, sync_every, start

    def observe(self, step: int, gradients: Iterable[tuple[str, Tensor]]) -> None:
        del step, gradients

    def wants(self, end: int) -> bool:
        return end - self._last >= self._sync_every and self._exchange.ready()

    def send(self, end: int, version: int | None) -> None:
        del version
        self._last = end
        if self._exchange.ready():
            self._exchange.send(None)

    def flush(self, end: int, version: int | None) -> None:
        del end, version


class Contributing:
    """Observes by the job's learning rule."""

    def __init__(self, plan: Plan, keys: AxisKeys, group: Group, exchange: Exchange, start: int) -> None:
        self._plan, self._group, self._exchange = plan, group, exchange
        self._rule = RULES[plan.spec.optimizer.learn]
        self._observer = self._rule.observe(keys, rank=group.rank, world_size=group.world)
        self._start = self._last = max(start, plan.watermark)
        self._sequence = plan.group * GROUP_SEQUENCES

    def observe(self, step: int, gradients: Iterable[tuple[str, Tensor]]) -> None:
        if step >= self._start:
            self._observer.observe(gradients, self._rule.weight(step / self._plan.steps))

    def wants(self, end: int) -> bool:
        due = end - self._start >= self._plan.spec.training.sync_every
        return due and self._exchange.ready()

    def send(self, end: int, version: int | None) -> None:
        shares = self._group.gather(self._observer.take())
        if self._group.leads:
            contribution = Contribution(
                rule=self._rule.name,
                job=self._plan.job,
                attempt=self._plan.attempt,
                sequence=self._sequence,
                start=self._start,
                end=end,
                base_version=version,
                sums={key: packed for sums, _ in shares for key, packed in sums.items()},
                skipped=sum(skipped for _, skipped in shares),
            )
            self._exchange.send(contribution.encode())
        self._start, self._sequence = end, self._sequence + 1

    def flush(self, end: int, version: int | None) -> None:
        if self._group.leads:
            self._exchange.flush()
        if end > self._start:
            self.send(end, version)
        if self._group.leads:
            self._exchange.flush()


def contributor(plan: Plan, keys: AxisKeys, group: Group, exchange: Exchange, start: int) -> Contributor:
    """What this job does for its family; observed are the keys that fit into one contribution."""
    if plan.contributes:
        chosen = keys_within(keys, plan.max_contribution_bytes // RULES[plan.spec.optimizer.learn].triangles)
        if sizes_by_key(chosen):
            return Contributing(plan, chosen, group, exchange, start)
    return Following(exchange, plan.spec.training.sync_every, start)


def keys_within(keys: AxisKeys, max_bytes: int) -> dict[str, tuple[str | None, ...]]:
    """The keys whose packed triangles fit together: role keys first, then hidden ones, small before large."""
    sizes = sizes_by_key(keys)
    kept: set[str] = set()
    room = max_bytes
    for key in sorted(sizes, key=lambda key: (parse_hidden_key(key) is not None, sizes[key], key)):
        room -= _packed_bytes(sizes[key])
        if room < 0:
            break
        kept.add(key)
    return _only(keys, kept)


def _packed_bytes(size: int) -> int:
    return 8 * size * (size + 1) // 2


def _only(keys: AxisKeys, kept: set[str]) -> dict[str, tuple[str | None, ...]]:
    chosen: Mapping[str, tuple[str | None, ...]] = {
        name: tuple(key if key in kept else None for key in row) for name, row in keys.items()
    }
    return dict(chosen)
