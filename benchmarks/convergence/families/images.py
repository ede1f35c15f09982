"""Families of images: patches of scikit-learn's sample photographs, and its digits.

`inpaint`: the 4 × 4 centre of an 8 × 8 patch from the 48 pixels around it. Tasks are tiles of a photograph;
contributors have one photograph, held-out jobs another. `inpaint-shared`: the same, all from one initialisation.
`inpaint-colour`: the same with three channels, and the photographs swapped. The flower is mostly flat: it has few tiles
to judge on, and small ones. Of six large tiles of the other five have texture (2 is sky), and so many blocks that AdamW
is limited by its steps more than by the data.
`digits`, `convnet`: three classes each, shifted by up to one pixel; held-out classes are seen by no contributor.
`shuffled`: the same with every job's pixels in an order of its own, so that an input axis means nothing from job to job
and no P can help.
"""

from dataclasses import replace
from functools import cache
from itertools import combinations

import numpy as np
import torch
from numpy.typing import NDArray
from sklearn.datasets import load_digits, load_sample_image

from benchmarks.convergence.tasks import Examples, Family, Part, Task, rows_part
from warpadam.shapes import anchor
from workers.tasks.models import build

Images = NDArray[np.float32]
BLOCK = 24
"""Pixels: patches lie inside blocks, and blocks belong to one part each, so that no pixel is in two parts."""
HELD_OUT_WIDTH = 80
CONTRIBUTED_WIDTHS = (48, 64, 96)
TUNED_TILES, HELD_OUT_TILES = (6, 12, 13), (7, 8, 11, 17)
"""The flower's tiles with texture: a patch's standard deviation is .12 of the scale or more on average. In the others
most patches are flat, and the loss is set by the few edges that happen to be in a part."""


def inpaint() -> Family:
    widths = CONTRIBUTED_WIDTHS
    return Family(
        "inpaint",
        "centre of 8 × 8 patches of photographs; MLP, random init, width not seen before",
        T=300,
        batch_size=32,
        contributors=tuple(_tile("china.jpg", tile, widths[tile % 3]) for tile in range(20)),
        tuning=tuple(_tile("flower.jpg", tile, HELD_OUT_WIDTH) for tile in TUNED_TILES),
        held_out=tuple(_tile("flower.jpg", tile, HELD_OUT_WIDTH) for tile in HELD_OUT_TILES),
    )


def inpaint_shared() -> Family:
    family = inpaint()
    model = _mlp(48, HELD_OUT_WIDTH, 16)
    start = {name: weight.detach() for name, weight in build(model, seed=7).named_parameters()}
    return replace(
        family,
        name="inpaint-shared",
        about="centre of 8 × 8 patches of photographs; MLP, every job from one initialisation",
        contributors=tuple(replace(task, model=model) for task in family.contributors),
        init="shared",
        start=start,
        anchor=anchor(model, "family"),
    )


def inpaint_colour() -> Family:
    widths = CONTRIBUTED_WIDTHS
    return Family(
        "inpaint-colour",
        "centre of 8 × 8 patches of colour photographs; MLP, random init, width not seen before",
        T=300,
        batch_size=64,
        contributors=tuple(_colour("flower.jpg", tile, widths[tile % 3], (4, 5)) for tile in range(20)),
        tuning=tuple(_colour("china.jpg", tile, HELD_OUT_WIDTH, (2, 3)) for tile in (0, 3)),
        held_out=tuple(_colour("china.jpg", tile, HELD_OUT_WIDTH, (2, 3)) for tile in (1, 4, 5)),
    )


def digits() -> Family:
    contributors, tuning, held_out = _digit_tasks()
    return Family(
        "digits",
        "three classes of digits, held-out classes never seen; MLP, random init, width not seen before",
        T=150,
        batch_size=32,
        contributors=tuple(
            replace(task, model=_mlp(64, CONTRIBUTED_WIDTHS[i % 3], 3)) for i, task in enumerate(contributors)
        ),
        tuning=tuple(replace(task, model=_mlp(64, HELD_OUT_WIDTH, 3)) for task in tuning),
        held_out=tuple(replace(task, model=_mlp(64, HELD_OUT_WIDTH, 3)) for task in held_out),
    )


def convnet() -> Family:
    contributors, tuning, held_out = _digit_tasks()
    widths = ([6, 12], [8, 12], [8, 20])
    return Family(
        "convnet",
        "three classes of digits, held-out classes never seen; convnet, random init, width not seen before",
        T=100,
        batch_size=32,
        contributors=tuple(replace(task, model=_conv(widths[i % 3])) for i, task in enumerate(contributors)),
        tuning=tuple(replace(task, model=_conv([8, 16])) for task in tuning),
        held_out=tuple(replace(task, model=_conv([8, 16])) for task in held_out),
    )


def shuffled() -> Family:
    family = digits()
    tasks = (family.contributors, family.tuning, family.held_out)
    contributors, tuning, held_out = (tuple(map(_shuffle, some)) for some in tasks)
    about = "digits, every job's pixels in an order of its own: the axis means nothing and P cannot help"
    return replace(family, name="shuffled", about=about, contributors=contributors, tuning=tuning, held_out=held_out)


def _tile(photograph: str, tile: int, width: int) -> Task:
    """One of 4 × 5 tiles of a photograph, grey, about zero."""
    return _region(_grey(photograph), photograph, tile, width, (4, 5))


def _colour(photograph: str, tile: int, width: int, grid: tuple[int, int]) -> Task:
    """One of rows × columns tiles of a photograph in its colours, about zero."""
    return _region(_scaled(load_sample_image(photograph)), photograph, tile, width, grid)


def _region(pixels: Images, photograph: str, tile: int, width: int, grid: tuple[int, int]) -> Task:
    """A tile of pixels (H, W) or (H, W, channels)."""
    height, breadth = pixels.shape[0] // grid[0], pixels.shape[1] // grid[1]
    row, column = divmod(tile, grid[1])
    corner = pixels[row * height : (row + 1) * height, column * breadth : (column + 1) * breadth]
    blocks = [
        corner[y : y + BLOCK, x : x + BLOCK]
        for y in range(0, corner.shape[0] - BLOCK + 1, BLOCK)
        for x in range(0, corner.shape[1] - BLOCK + 1, BLOCK)
    ]
    order = np.random.default_rng(tile).permutation(len(blocks))
    first, second = int(0.6 * len(blocks)), int(0.8 * len(blocks))
    chosen: dict[Part, NDArray[np.int64]] = {
        "train": order[:first],
        "tune": order[first:second],
        "test": order[second:],
    }
    parts: dict[Part, Examples] = {part: _patches([blocks[i] for i in own]) for part, own in chosen.items()}
    source = frozenset({f"photograph {photograph}"})
    channels = pixels[0, 0].size
    model = _mlp(48 * channels, width, 16 * channels)
    return Task(f"{photograph} {tile}", "regression", source, parts, model, evaluated=1024)


def _patches(blocks: list[Images]) -> Examples:
    """Every 8 × 8 patch of the blocks: the centre, and what is around it."""
    windows = np.concatenate(
        [
            np.lib.stride_tricks.sliding_window_view(block, (8, 8), axis=(0, 1)).reshape(-1, *block.shape[2:], 8, 8)
            for block in blocks
        ]
    )
    centre = np.zeros((8, 8), dtype=bool)
    centre[2:6, 2:6] = True
    count = len(windows)
    return rows_part(windows[..., ~centre].reshape(count, -1), windows[..., centre].reshape(count, -1))


@cache
def _grey(photograph: str) -> Images:
    return _scaled(load_sample_image(photograph).mean(axis=2))


def _scaled(pixels: NDArray[np.generic]) -> Images:
    scaled: Images = ((pixels.astype(np.float64) / 255.0 - 0.5) / 0.25).astype(np.float32)
    return scaled


def _digit_tasks() -> tuple[list[Task], list[Task], list[Task]]:
    """20 contributors on classes 0 to 4, each with half of their rows; the others' classes are 5 to 9."""
    seen = list(combinations(range(5), 3))
    unseen = list(combinations(range(5, 10), 3))
    contributors = [_classes(classes, half) for classes in seen for half in (0, 1)]
    tuning = [_classes(unseen[i], None) for i in (1, 4, 6, 9)]
    return contributors, tuning, [_classes(unseen[i], None) for i in (0, 3, 5, 8)]


def _classes(classes: tuple[int, ...], half: int | None) -> Task:
    data = load_digits()
    places = np.flatnonzero(np.isin(data.target, classes))
    if half is not None:
        places = places[half::2]
    x = data.images[places].astype(np.float32) / 16.0
    y = np.searchsorted(np.array(classes), data.target[places])
    name = "digits " + "".join(map(str, classes)) + ("" if half is None else f" half {half}")
    sources = frozenset(f"digit {label}" for label in classes)
    order = np.random.default_rng(sum(classes)).permutation(len(x))
    first, second = int(0.5 * len(x)), int(0.7 * len(x))
    chosen: dict[Part, NDArray[np.int64]] = {
        "train": order[:first],
        "tune": order[first:second],
        "test": order[second:],
    }
    parts: dict[Part, Examples] = {part: _shifted(x[own], y[own]) for part, own in chosen.items()}
    return Task(name, "classification", sources, parts, _mlp(64, HELD_OUT_WIDTH, 3), evaluated=2048)


def _shifted(images: Images, labels: NDArray[np.int64]) -> Examples:
    """Every image at nine places, zeros moving in: (9 n, 8, 8, 1), about zero."""
    padded = np.pad(images, ((0, 0), (1, 1), (1, 1)))
    x = np.concatenate([padded[:, row : row + 8, column : column + 8] for row in range(3) for column in range(3)])
    return rows_part((x[..., None] - 0.28) / 0.37, np.tile(labels, 9))


def _shuffle(task: Task) -> Task:
    order = torch.from_numpy(np.random.default_rng(list(task.name.encode())).permutation(64))

    def moved(part: Examples) -> Examples:
        x, y = part.pick(torch.arange(len(part)))
        return rows_part(x.flatten(1)[:, order].numpy(), y.numpy())

    return replace(task, parts={name: moved(part) for name, part in task.parts.items()})


def _mlp(inputs: int, width: int, outputs: int) -> dict[str, object]:
    return {"arch": "mlp", "hidden": [width], "activation": "relu", "input": inputs, "output": outputs}


def _conv(channels: list[int]) -> dict[str, object]:
    return {"arch": "convnet", "channels": channels, "kernel": 3, "input": [8, 8, 1], "output": 3}
