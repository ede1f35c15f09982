"""A basis from the job's own data: which axes get one, of which second moment, and that it repeats itself."""

import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from numpy.typing import NDArray

from service.resolve import OWN_DATA_ROLES
from warpadam import shapes, warpfile
from warpadam.learn import own_data
from warpadam.learn.own_data import matrices

ROOT = Path(__file__).parents[3]
MLP = {"arch": "mlp", "hidden": [8], "activation": "relu", "input": 48, "output": 5}
CONVNET = {"arch": "convnet", "channels": [4, 8], "kernel": 3, "input": [4, 4, 3], "output": 5}
TRANSFORMER = {"arch": "transformer", "layers": 1, "width": 16, "heads": 2, "context": 8, "vocabulary": 256}

draw = np.random.default_rng(0)
IMAGES = (draw.random((200, 4, 4, 3)) + np.array([0.5, 0.2, 0.1])).astype(np.float32)
VALUES = (IMAGES.reshape(200, -1) @ draw.normal(size=(48, 5))).astype(np.float32)
CLASSES = VALUES.argmax(axis=1)


def keys_of(model: dict[str, Any], max_axis: int = 512) -> dict[str, int]:
    return shapes.sizes_by_key(shapes.axis_keys(model, "0" * 12, max_axis))


def is_diagonal(P: NDArray[np.float32], C: NDArray[np.float64]) -> bool:
    turned = P.astype(np.float64) @ C @ P.T.astype(np.float64)
    values = np.diag(turned)
    off = np.abs(turned - np.diag(values)).max()
    return bool(off < 1e-5 * np.linalg.norm(C) and (np.diff(values) <= 1e-5 * values[0]).all())


@pytest.mark.parametrize(
    ("model", "task", "expected"),
    [
        (MLP, "regression", {"input:48", "output:5"}),
        (MLP, "classification", {"input:48", "output:5"}),
        (CONVNET, "regression", {"channels:3", "taps:9", "output:5"}),
        (CONVNET, "classification", {"channels:3", "taps:9", "output:5"}),
        (TRANSFORMER, "language_modeling", set()),
    ],
)
def test_outer_axes_get_an_orthogonal_matrix_and_hidden_ones_none(
    model: dict[str, Any], task: str, expected: set[str]
) -> None:
    y = CLASSES if task == "classification" else VALUES
    x = np.zeros(600, np.uint8) if task == "language_modeling" else IMAGES
    found = matrices(x, y, task, keys_of(model))
    assert set(found) == expected
    assert {key.rpartition(":")[0] for key in found} <= set(OWN_DATA_ROLES)
    if found:
        assert warpfile.check(found).orthogonal


def test_input_is_the_second_moment_of_the_flattened_rows_about_zero() -> None:
    rows = IMAGES.reshape(200, -1).astype(np.float64)
    P = matrices(IMAGES, VALUES, "regression", ["input:48"])["input:48"]
    assert is_diagonal(P, rows.T @ rows)
    assert not is_diagonal(P, np.cov(rows.T))
    mean = rows.mean(axis=0) / np.linalg.norm(rows.mean(axis=0))
    assert abs(P[0] @ mean) > 0.99


def test_output_is_the_second_moment_of_the_first_errors() -> None:
    P = matrices(IMAGES, VALUES, "regression", ["output:5"])["output:5"]
    assert is_diagonal(P, VALUES.T.astype(np.float64) @ VALUES)
    errors = np.eye(5)[CLASSES] - 0.2
    assert is_diagonal(matrices(IMAGES, CLASSES, "classification", ["output:5"])["output:5"], errors.T @ errors)


@pytest.mark.parametrize("kernel", [1, 3, 5])
def test_taps_and_channels_are_what_the_gradient_of_a_convolution_is_made_of(kernel: int) -> None:
    """With a loss that is white noise at the conv's output, E[unfold(G) unfold(G)ᵀ] is the second moment of patches."""
    x = torch.from_numpy(IMAGES).permute(0, 3, 1, 2).double()
    patches = torch.nn.functional.unfold(x, kernel, padding=kernel // 2)
    by_tap = patches.reshape(200, 3, kernel * kernel, -1).permute(2, 0, 1, 3).reshape(kernel * kernel, -1)
    found = matrices(IMAGES, VALUES, "regression", ["channels:3", f"taps:{kernel * kernel}"])
    assert is_diagonal(found[f"taps:{kernel * kernel}"], (by_tap @ by_tap.T).numpy())
    by_channel = x.permute(1, 0, 2, 3).reshape(3, -1)
    assert is_diagonal(found["channels:3"], (by_channel @ by_channel.T).numpy())


def test_an_axis_without_a_key_gets_none_whatever_the_data() -> None:
    assert set(matrices(IMAGES, VALUES, "regression", keys_of(MLP, max_axis=40))) == {"output:5"}
    assert matrices(np.zeros_like(IMAGES), VALUES, "regression", ["input:48"]) == {}
    assert matrices(IMAGES, VALUES, "regression", []) == {}


def test_many_rows_are_thinned_evenly_and_the_chunks_do_not_matter(monkeypatch: pytest.MonkeyPatch) -> None:
    thinned = matrices(IMAGES, VALUES, "regression", ["input:48", "output:5"], max_rows=50)
    by_hand = matrices(IMAGES[::4], VALUES[::4], "regression", ["input:48", "output:5"])
    assert all(np.array_equal(thinned[key], by_hand[key]) for key in thinned)
    monkeypatch.setattr(own_data, "CHUNK_VALUES", 1000)
    chunked = matrices(IMAGES, VALUES, "regression", ["input:48"])
    rows = IMAGES.reshape(200, -1).astype(np.float64)
    assert is_diagonal(chunked["input:48"], rows.T @ rows)


def test_equal_data_gives_equal_bytes_whatever_the_threads() -> None:
    code = (
        "import hashlib, sys, numpy as np\n"
        "from warpadam.learn.own_data import matrices\n"
        "draw = np.random.default_rng(1)\n"
        "x, y = draw.random((300, 200), np.float32), draw.random((300, 7), np.float32)\n"
        "found = matrices(x, y, 'regression', ['output:7', 'input:200'])\n"
        "assert 'torch' not in sys.modules\n"
        "print(hashlib.sha256(b''.join(found[key].tobytes() for key in sorted(found))).hexdigest())\n"
    )
    outputs = {
        subprocess.run(
            [sys.executable, "-c", code],
            env={**os.environ, "OPENBLAS_NUM_THREADS": threads, "PYTHONPATH": str(ROOT)},
            capture_output=True,
            text=True,
            check=True,
        ).stdout
        for threads in ("1", "2")
    }
    assert len(outputs) == 1
