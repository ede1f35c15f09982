"""Small plans and the listeners that record what a run tells, shared by the tests of the loop."""

from typing import Any

import numpy as np

from service.spec import JobSpec
from workers.exchange import NewWarp
from workers.plan import Plan
from workers.reporting import Event, Message, Metric, Saved, Stop
from workers.tasks.data import Split


def regression(rows: int = 64, inputs: int = 6, outputs: int = 3) -> Split:
    """Values that a linear map gives, with a little noise: easy to learn, never quite zero."""
    draw = np.random.default_rng(0)
    x = draw.normal(size=(rows + 32, inputs)).astype(np.float32)
    y = (x @ draw.normal(size=(inputs, outputs)) + 0.01 * draw.normal(size=(rows + 32, outputs))).astype(np.float32)
    return Split(x[:rows], y[:rows], x[rows:], y[rows:])


def plan(
    *,
    optimizer: dict[str, Any] | None = None,
    training: dict[str, Any] | None = None,
    split: Split | None = None,
    **fields: Any,
) -> Plan:
    spec = JobSpec.model_validate(
        {
            "family": "tests",
            "dataset": {"id": "ds_x"},
            "task": "regression",
            "model": {"arch": "mlp", "hidden": [8]},
            "optimizer": {"lr": 0.01, **(optimizer or {})},
            "training": {
                "steps": 20, "batch_size": 8, "eval_every": 5, "checkpoint_every": 10, "sync_every": 4,
                **(training or {}),
            },
        }
    )  # fmt: skip
    values: dict[str, Any] = {
        "job": "job_x",
        "attempt": 1,
        "token": 1,
        "family_id": 1,
        "spec": spec,
        "model": {"arch": "mlp", "hidden": [8], "activation": "relu", "input": 6, "output": 3},
        "anchor": None,
        "steps": spec.training.steps,
        "seed": 3,
        "init_seed": 4,
        "split": split or regression(),
    }
    return Plan(**{**values, **fields})


class Listener:
    """A Reporter that remembers; asks to stop with `reason` once `stop_after` steps were asked about."""

    def __init__(self, reason: Stop | None = None, stop_after: int = 0) -> None:
        self.messages: list[Message] = []
        self._reason, self._asked, self._stop_after = reason, 0, stop_after

    def post(self, message: Message) -> None:
        self.messages.append(message)

    def stop(self) -> Stop | None:
        if self._asked >= self._stop_after:
            return self._reason
        self._asked += 1
        return None

    def points(self, name: str) -> list[tuple[int, float]]:
        return [(m.step, m.value) for m in self.messages if isinstance(m, Metric) and m.name == name]

    @property
    def saved(self) -> list[Saved]:
        return [m for m in self.messages if isinstance(m, Saved)]

    def events(self, kind: str) -> list[Event]:
        return [m for m in self.messages if isinstance(m, Event) and m.type == kind]


class Learner:
    """An Exchange that keeps what it is sent; busy for `busy` questions after each."""

    def __init__(self, busy: int = 0, warps: list[NewWarp] | None = None) -> None:
        self.sent: list[bytes | None] = []
        self.flushed = self.finalized = 0
        self._busy, self._left, self._warps = busy, 0, warps or []

    def ready(self) -> bool:
        self._left -= 1
        return self._left < 0

    def send(self, contribution: bytes | None) -> None:
        self.sent.append(contribution)
        self._left = self._busy

    def newest(self) -> NewWarp | None:
        return self._warps.pop(0) if self._warps else None

    def flush(self) -> None:
        self.flushed += 1
        self._left = 0

    def finalize(self) -> int | None:
        self.finalized += 1
        return 7
