"""A few steps of small jobs that nobody asked for, so that the first step of a real one finds everything loaded."""

import numpy as np

from service.spec import JobSpec
from workers.exchange import NullExchange
from workers.group import Group
from workers.plan import Plan
from workers.reporting import NullReporter
from workers.tasks.data import Split
from workers.train import train

_TRANSFORMER = {"arch": "transformer", "layers": 1, "width": 16, "heads": 2, "context": 8, "vocabulary": 256}
_MLP = {"arch": "mlp", "hidden": [4], "activation": "relu", "input": 3, "output": 2}


def train_a_little() -> None:
    """Forward, backward, observing, stepping, evaluating and encoding, for a transformer and a network of layers."""
    text = np.zeros(40, np.uint8)
    none = np.empty(0, np.int64)
    rows, values = np.zeros((8, 3), np.float32), np.ones((8, 2), np.float32)
    train(_plan("language_modeling", _TRANSFORMER, Split(text, none, text, none)), Group(), NullReporter(), _Busy())
    train(_plan("regression", _MLP, Split(rows, values, rows, values)), Group(), NullReporter(), _Busy())


class _Busy(NullExchange):
    """Takes the last contribution and forgets it."""

    def send(self, contribution: bytes | None) -> None:
        del contribution


def _plan(task: str, model: dict[str, object], split: Split) -> Plan:
    described = {"arch": "mlp", "hidden": [4]}
    spec = JobSpec.model_validate(
        {
            "family": "warm",
            "dataset": {"builtin": "digits"},
            "task": task,
            "model": described,
            "training": {"steps": 2, "batch_size": 4},
        }
    )
    return Plan(
        job="", attempt=0, token=0, family_id=0, spec=spec, model=model, anchor="0" * 12, steps=2, seed=0, init_seed=0,
        split=split,
    )  # fmt: skip
