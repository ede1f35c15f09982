"""What the tests send: files and descriptions."""

import io
from typing import Any

import numpy as np
from numpy.typing import NDArray
from safetensors.numpy import save


def orthogonal(size: int, seed: int = 0) -> NDArray[np.float32]:
    matrix, _ = np.linalg.qr(np.random.default_rng(seed).normal(size=(size, size)))
    return matrix.astype(np.float32)


def warp_file(seed: int = 0, size: int = 4) -> bytes:
    return save({f"input:{size}": orthogonal(size, seed)}, {"format": "warpadam.warp/1"})


def npz(rows: int = 40, columns: int = 4, outputs: int = 2, seed: int = 0) -> bytes:
    draw = np.random.default_rng(seed)
    x = draw.normal(size=(rows, columns)).astype(np.float32)
    file = io.BytesIO()
    np.savez(file, x=x, y=x @ draw.normal(size=(columns, outputs)).astype(np.float32))
    return file.getvalue()


def spec(dataset_id: str, **changes: Any) -> dict[str, Any]:
    """A small regression."""
    return {
        "family": "patches",
        "dataset": {"id": dataset_id},
        "task": "regression",
        "model": {"arch": "mlp", "hidden": [8]},
        "training": {"steps": 10, "batch_size": 8},
        **changes,
    }
