"""Which families' P suit some data and a model: asked by `client.families.match`, measured on a worker."""

import time
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any, TypeVar

from warpadam.sdk.connection import Connection
from warpadam.sdk.decode import Json, Model, decode, known_fields
from warpadam.sdk.errors import MatchFailed, WaitTimeout
from warpadam.sdk.models import Reason
from warpadam.sdk.modes import Awaited, Blocking, M, Resource, call_self

_OVER = frozenset({"succeeded", "failed"})


@dataclass(frozen=True, kw_only=True)
class Score(Model):
    """`score`: the log of the validation loss without P less that with it, after a short training: 0.1 is a tenth less.

    `diagonal`: the share that P removes of what the gradients' coordinates have in common; where nothing was trained
    the score is the same number, and the rest is None.
    """

    score: float
    diagonal: float
    stderr: float | None
    val_loss: float | None
    lr: float | None


@dataclass(frozen=True, kw_only=True)
class RankedFamily(Score):
    """`covered`: axes of the model that have a matrix in this P."""

    family: str
    version: int
    covered: list[str] = field(default_factory=list)


@dataclass(frozen=True, kw_only=True)
class UnsuitableFamily(Model):
    family: str
    version: int | None
    code: str
    reason: str


@dataclass(frozen=True, kw_only=True)
class Baselines(Model):
    """Without P, and with a basis from the data itself; None where the data says nothing of any axis."""

    none: Score
    data: Score | None


@dataclass(frozen=True, kw_only=True)
class Recommendation(Model):
    """`warp`: family (then `family` and `version` say which), data or none."""

    warp: str
    family: str | None
    version: int | None
    reason: str


@dataclass(frozen=True, kw_only=True)
class MatchResult(Model):
    """`matches`: best first. `measured_by`: training, or gradients where training would have taken too long."""

    measured_by: str
    steps: int
    axes: int
    baselines: Baselines
    matches: list[RankedFamily] = field(default_factory=list)
    left_out: int = 0
    unsuitable: list[UnsuitableFamily] = field(default_factory=list)
    recommendation: Recommendation


@dataclass(kw_only=True)
class BaseMatch(Resource[M]):
    """What `Match` and `AsyncMatch` share. Its fields are as of the last answer; `refresh()` asks again."""

    id: str
    state: str
    dataset_id: str
    attempts: int
    result: MatchResult | None
    failure: Reason | None
    created_at: datetime
    started_at: datetime | None
    finished_at: datetime | None
    raw: Json = field(default_factory=dict, repr=False, compare=False)
    _connection: Connection = field(init=False, repr=False, compare=False)

    @property
    def blocks(self) -> bool:
        return self._connection.transport.blocks

    @property
    def is_over(self) -> bool:
        return self.state in _OVER

    @call_self
    async def refresh(self) -> None:
        await self._refresh()

    @call_self
    async def wait(self, *, timeout_s: float | None = None, poll_s: float = 0.5) -> None:
        """Until it has been measured. Raises MatchFailed where it could not be, WaitTimeout after `timeout_s`."""
        deadline = None if timeout_s is None else time.monotonic() + timeout_s
        while not self.is_over:
            if deadline is not None and time.monotonic() > deadline:
                raise WaitTimeout(f"{self.id} is still {self.state} after {timeout_s:g} s")
            await self._connection.transport.sleep(poll_s)
            await self._refresh()
        if self.state == "failed":
            raise MatchFailed(self.id, self.failure.raw if self.failure else None)

    async def _refresh(self) -> None:
        content = await self._connection.json("GET", f"/v1/families/matches/{self.id}")
        vars(self).update(known_fields(type(self), content))


class Match(BaseMatch[Blocking]):
    """A match of a `Client`."""


class AsyncMatch(BaseMatch[Awaited]):
    """A match of an `AsyncClient`: its methods are awaited."""


F = TypeVar("F", bound=BaseMatch[Any])


def match_from(kind: type[F], content: Json, connection: Connection) -> F:
    match = decode(kind, content)
    match._connection = connection
    return match
