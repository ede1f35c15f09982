"""Two families of small real tasks: patches of photographs from random starts, and Python's sources from one base."""

from dataclasses import dataclass
from functools import cache

import numpy as np
from sklearn.datasets import load_sample_image
from torch import Tensor

from service.data import builtin
from service.data.raw import RawText
from service.data.source import BuiltinSource
from service.spec import Task as TaskName
from workers.tasks.data import Split

VAL = 0.2
BASE_DOMAINS = ("json", "logging", "unittest")


@dataclass(frozen=True)
class Problem:
    """One task: data, a model, and where its weights begin (drawn from the run's seed where `base` is None)."""

    name: str
    task: TaskName
    split: Split
    model: dict[str, object]
    batch_size: int
    anchor: str | None = None
    base: dict[str, Tensor] | None = None

    @property
    def context(self) -> int | None:
        value = self.model.get("context")
        return value if isinstance(value, int) else None


@dataclass(frozen=True)
class Family:
    name: str
    training: tuple[Problem, ...]
    held_out: tuple[Problem, ...]
    steps: int
    lrs: tuple[float, ...]
    learning_lr: float
    """The learning rate of the runs that P is learned from."""


def inpainting() -> Family:
    """The inner 4 × 4 pixels of a patch from the 48 around them; a task is a region of a photograph.

    Learned from regions of one photograph, held out are those of another, at another width.
    """

    def problem(photo: str, region: int, width: int) -> Problem:
        x, y = _patches(photo, region)
        model = {"arch": "mlp", "hidden": [width], "activation": "relu", "input": 48, "output": 16}
        return Problem(f"{photo} {region}", "regression", _split(x, y), model, 64)

    return Family(
        "inpainting",
        tuple(problem("china.jpg", region, 64) for region in range(6)),
        tuple(problem("flower.jpg", region, 96) for region in (0, 2, 3, 5)),
        steps=150,
        lrs=(0.008, 0.016, 0.032),
        learning_lr=0.008,
    )


def text(base: dict[str, Tensor]) -> Family:
    """Fine-tuning one small transformer to packages of the standard library; all axes are aligned."""

    def problem(part: str) -> Problem:
        return Problem(part, "language_modeling", _text(part), TRANSFORMER, 16, anchor="0" * 12, base=base)

    return Family(
        "text",
        tuple(problem(part) for part in ("asyncio", "email", "concurrent", "http", "xml", "curses")),
        tuple(problem(part) for part in ("multiprocessing", "importlib", "tkinter")),
        steps=100,
        lrs=(0.002, 0.004, 0.008),
        learning_lr=0.004,
    )


TRANSFORMER: dict[str, object] = {
    "arch": "transformer",
    "layers": 2,
    "width": 32,
    "heads": 2,
    "context": 32,
    "vocabulary": 256,
}


def base_problem() -> Problem:
    """What the family `text` starts from is trained on."""
    parts = [_text(part) for part in BASE_DOMAINS]
    joined = Split(*(np.concatenate([getattr(part, name) for part in parts]) for name in Split.__annotations__))
    return Problem("base", "language_modeling", joined, TRANSFORMER, 16)


@cache
def _patches(photo: str, region: int) -> tuple[np.ndarray, np.ndarray]:
    """5000 patches of 8 × 8 from one of six regions, grey, 0 to 1: the 48 outer pixels and the 16 inner ones."""
    grey = np.asarray(load_sample_image(photo), np.float32).mean(axis=2) / 255
    rows, columns = np.array_split(np.arange(len(grey)), 2), np.array_split(np.arange(grey.shape[1]), 3)
    part = grey[np.ix_(rows[region // 3], columns[region % 3])]
    windows = np.lib.stride_tricks.sliding_window_view(part, (8, 8)).reshape(-1, 64)
    patches = windows[np.random.default_rng(region).choice(len(windows), 5000, replace=False)]
    inner = np.zeros((8, 8), bool)
    inner[2:6, 2:6] = True
    return patches[:, ~inner.ravel()].copy(), patches[:, inner.ravel()].copy()


def _text(part: str) -> Split:
    raw = builtin.read(BuiltinSource("python-text", part))
    assert isinstance(raw, RawText)
    data = np.frombuffer(raw.data, np.uint8)[:400_000]
    cut = max(int(len(data) * (1 - VAL)), len(data) - 16_000)
    empty = np.empty(0, np.int64)
    return Split(data[:cut], empty, data[cut:], empty)


def _split(x: np.ndarray, y: np.ndarray) -> Split:
    order = np.random.default_rng(0).permutation(len(x))
    cut = int(len(x) * (1 - VAL))
    return Split(x[order[:cut]], y[order[:cut]], x[order[cut:]], y[order[cut:]])
