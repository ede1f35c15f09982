"""Two ranks give what one gives: parameters, P, and statistics that count every step once."""

from pathlib import Path

import numpy as np
import pytest
import torch

from tests.warpadam import ddp
from warpadam.learn.packed import SCALE, unpack


@pytest.mark.slow
def test_two_ranks_are_one_within_rounding(tmp_path: Path) -> None:
    ddp.run(0, 1, str(tmp_path))
    other = torch.multiprocessing.get_context("spawn").Process(target=ddp.run, args=(1, 2, str(tmp_path)))
    other.start()
    try:
        ddp.run(0, 2, str(tmp_path))
        other.join(60)
        assert other.exitcode == 0
    finally:
        other.kill()
    one, first, second = (dict(np.load(tmp_path / f"{name}.npz")) for name in ("1-0", "2-0", "2-1"))
    plain = [name for name in one if not name.startswith("sum ")]
    assert any(name.startswith("basis") for name in plain)
    for name in plain:
        assert np.array_equal(first[name], second[name]), name
        assert np.allclose(one[name], first[name], atol=1e-4), name

    shares = [{name for name in found if name.startswith("sum ")} for found in (first, second)]
    assert not shares[0] & shares[1]
    assert shares[0] | shares[1] == {f"sum {key}" for key in ddp.KEYS}
    for name, packed in {**first, **second}.items():
        if name.startswith("sum "):
            assert abs(np.trace(unpack(packed)) - ddp.STEPS) <= ddp.STEPS * 1e-5 + 10 / SCALE
            assert np.allclose(unpack(packed), unpack(one[name]), atol=1e-3)
