import pickle
from pathlib import Path

import numpy as np
import pytest
import torch

from tests.warpadam.matrices import rotation
from warpadam import Warp
from warpadam.reference import dense
from warpadam.warpfile import WarpFileError, WarpMetadata

WARP = Warp({"output:3": rotation(3, 1), "input:5": torch.from_numpy(rotation(5, 2)), "taps:4": rotation(4, 3)})
KEYS = {
    (5,): ("input:5",),
    (3, 5): ("output:3", "input:5"),
    (2, 5): (None, "input:5"),
    (3, 7): ("output:3", "output:99"),
    (7, 3, 2, 2): (None, "output:3", "taps:4"),
    (2, 3, 5, 4): (None, "output:3", "input:5", "taps:4"),
}


@pytest.mark.parametrize(("shape", "keys"), KEYS.items(), ids=str)
def test_apply_is_the_kronecker_product_and_transpose_its_transpose(
    shape: tuple[int, ...], keys: tuple[str | None, ...]
) -> None:
    G = torch.randn(shape, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    sizes = (*shape[: len(keys) - 1], int(np.prod(shape[len(keys) - 1 :])))
    P = dense([(size, WARP.matrices.get(key or "")) for size, key in zip(sizes, keys, strict=True)])
    assert torch.allclose(WARP.apply(G, keys).reshape(-1), P @ G.reshape(-1), atol=1e-12)
    assert torch.allclose(WARP.apply_transpose(G, keys).reshape(-1), P.T @ G.reshape(-1), atol=1e-12)


def test_a_matrix_gradient_is_l_g_r_transposed() -> None:
    G, L, R = torch.randn(3, 5), WARP.matrices["output:3"], WARP.matrices["input:5"]
    assert torch.allclose(WARP.apply(G, ("output:3", "input:5")), L @ G @ R.T, atol=1e-6)


def test_a_file_gives_the_same_warp(tmp_path: Path) -> None:
    warp = Warp(WARP.matrices, WarpMetadata(family="patches", version=3))
    warp.save(tmp_path / "p.safetensors")
    loaded = Warp.load(tmp_path / "p.safetensors")
    assert loaded.metadata == warp.metadata
    assert loaded.keys() == ("input:5", "output:3", "taps:4")
    assert loaded.to_bytes() == warp.to_bytes() != WARP.to_bytes()
    assert loaded.digest == WARP.digest
    assert loaded.is_orthogonal


def test_a_warp_travels_between_processes() -> None:
    assert pickle.loads(pickle.dumps(WARP)).to_bytes() == WARP.to_bytes()


def test_a_bad_matrix_is_a_value_error() -> None:
    with pytest.raises(WarpFileError, match="the key says size 5, the matrix has 3"):
        Warp({"input:5": rotation(3)})


def test_a_skewed_matrix_is_scaled_and_the_warp_says_so() -> None:
    warp = Warp({"input:2": [[3.0, 1.0], [0.0, 2.0]]})
    assert warp.metadata.scaled
    assert not warp.is_orthogonal
    assert warp.matrices["input:2"].norm().item() == pytest.approx(2**0.5)


def test_a_matrix_of_another_size_than_the_axis_is_a_value_error() -> None:
    with pytest.raises(ValueError, match="input:5: the matrix has size 5, axis 1 of the tensor 6"):
        WARP.apply(torch.zeros(3, 6), ("output:3", "input:5"))
