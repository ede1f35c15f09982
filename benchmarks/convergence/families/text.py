"""Fine-tuning a small transformer to text domains: packages of Python's own standard library.

The base is trained on a mixture of packages that are no domain. Every job begins from it, so all axes are aligned.
Domains are cut by package, and for contributors also by the first letter of top-level modules.
"""

import hashlib
import sysconfig
from dataclasses import replace
from functools import cache
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from benchmarks.convergence.cache import kept
from benchmarks.convergence.grid import Setting
from benchmarks.convergence.tasks import Examples, Family, Part, Task, TextPart
from benchmarks.convergence.training import Recipe, gradients, initial
from benchmarks.convergence.updates import Adam, Stacked
from warpadam.shapes import anchor
from workers.tasks.schedules import factor

CONTEXT = 32
MODEL = {"arch": "transformer", "layers": 2, "width": 32, "heads": 2, "context": CONTEXT, "vocabulary": 256}
BASE = ("asyncio", "email", "idlelib")
BASE_STEPS, BASE_BATCH, BASE_SEED = 2000, 16, 11
YOUNG_STEPS = 300
CONTRIBUTED = ("unittest", "xml", "importlib", "logging", "multiprocessing", "urllib", "http", "concurrent", "json")
LETTERS = ("a", "b", "c", "d", "g", "h", "i", "l", "m", "p", "s")
TUNED = ("re", "html")
HELD_OUT = ("tkinter", "encodings", "xmlrpc", "pydoc_data")
LONGEST = 400_000


def text() -> Family:
    start = base()
    return Family(
        "text",
        "a small transformer from one base to packages of Python's library never seen",
        T=64,
        batch_size=4,
        contributors=(*map(_package, CONTRIBUTED), *map(_letter, LETTERS)),
        tuning=tuple(map(_package, TUNED)),
        held_out=tuple(map(_package, HELD_OUT)),
        init="shared",
        start=start,
        anchor=anchor(MODEL, _digest(start)),
        centre=2,
        learning_rate=4e-3,
    )


def longer() -> Family:
    """The same with four times the steps and twice the batch."""
    return replace(
        text(), name="text-long", about="text, four times the steps and twice the batch", T=256, batch_size=8
    )


def young() -> Family:
    """From a base that has learned less, with four times the batch: AdamW is limited by its steps and not by noise."""
    start = base(YOUNG_STEPS)
    return replace(
        text(),
        name="text-young",
        about="text, from a base trained for 300 steps instead of 2000; 512 bytes a step instead of 128",
        T=100,
        batch_size=16,
        start=start,
        anchor=anchor(MODEL, _digest(start)),
        centre=3,
        learning_rate=8e-3,
    )


@cache
def base(steps: int = BASE_STEPS) -> dict[str, Tensor]:
    """The base's weights: trained once, then kept."""
    content = b"".join(_read(name) for name in BASE)
    made_from = f"{MODEL} {steps} {BASE_BATCH} {BASE_SEED} {hashlib.sha256(content).hexdigest()}"
    return kept("base", made_from, lambda: _train_base(_task("base", content), steps))


def _train_base(task: Task, steps: int) -> dict[str, Tensor]:
    recipe = Recipe(Adam, {}, {}, BASE_BATCH)
    weights = initial(task, recipe, [BASE_SEED])
    update = Adam(Stacked(weights, [Setting(lr=4e-3, beta2=0.99)], {}, {}))
    places = task.batches(BASE_SEED, steps, BASE_BATCH)
    for step in range(steps):
        lr = torch.tensor([4e-3 * factor("cosine", step, steps, 100)], dtype=torch.float64)
        batch = task.parts["train"].pick(places[step][None])
        update.step(gradients(task, weights, batch, 1), lr, 1)
    return {name: weight[0].clone() for name, weight in weights.items()}


def _package(name: str) -> Task:
    return _task(name, _read(name))


def _letter(letter: str) -> Task:
    files = sorted(_library().glob(f"{letter}*.py"))
    return _task(f"modules {letter}", b"".join(file.read_bytes() for file in files)[:LONGEST])


def _read(package: str) -> bytes:
    folder = _library() / package
    files = [file for file in sorted(folder.rglob("*.py")) if not {"test", "tests", "idle_test"} & {*file.parts}]
    content = b"".join(file.read_bytes() for file in files)[:LONGEST]
    if len(content) < 20_000:
        raise ValueError(f"this Python has no sources of its library's {package}: {len(content)} bytes found")
    return content


def _library() -> Path:
    return Path(sysconfig.get_path("stdlib"))


def _task(name: str, content: bytes) -> Task:
    """Text cut in 20 pieces, of which 12 are trained on, 4 tuned on and 4 tested on, drawn by the name."""
    bytes_ = torch.from_numpy(np.frombuffer(content, dtype=np.uint8).copy())
    pieces = bytes_.tensor_split(20)
    order = np.random.default_rng(list(name.encode())).permutation(20)
    chosen: dict[Part, list[int]] = {
        "train": sorted(order[:12]),
        "tune": sorted(order[12:16]),
        "test": sorted(order[16:]),
    }
    parts: dict[Part, Examples] = {
        part: TextPart(torch.cat([pieces[i] for i in own]), CONTEXT) for part, own in chosen.items()
    }
    return Task(name, "language_modeling", frozenset({f"library {name}"}), parts, MODEL, evaluated=64)


def _digest(weights: dict[str, Tensor]) -> str:
    return hashlib.sha256(b"".join(weight.numpy().tobytes() for weight in weights.values())).hexdigest()
