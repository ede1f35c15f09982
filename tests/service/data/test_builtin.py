"""What every machine has."""

import subprocess
import sys

import numpy as np
import pytest
from sklearn.datasets import load_digits

from service.data import BuiltinSource, DataError, inspect, load
from service.data.builtin import digest, release
from service.spec import DatasetOptions

OPTIONS = DatasetOptions()


def test_digits_are_those_of_scikit_learn() -> None:
    arrays = load(BuiltinSource("digits"), OPTIONS, "classification")
    pixels, labels = load_digits(return_X_y=True)
    assert arrays.info.classes == list(range(10))
    assert arrays.info.input.shape == [8, 8, 1]
    assert (arrays.info.train, arrays.info.val) == (1617, 180)
    x = np.concatenate([arrays.x_train, arrays.x_val]).reshape(-1, 64)
    np.testing.assert_allclose(np.sort(x.sum(axis=1)), np.sort(pixels.sum(axis=1)) / 16, rtol=1e-5)
    counts = np.bincount(arrays.y_train, minlength=10) + np.bincount(arrays.y_val, minlength=10)
    np.testing.assert_array_equal(counts, np.bincount(labels))


def test_digits_do_not_import_scikit_learn() -> None:
    code = (
        "import sys; from service.data import BuiltinSource, inspect; from service.spec import DatasetOptions;"
        "inspect(BuiltinSource('digits'), DatasetOptions()); assert 'sklearn' not in sys.modules"
    )
    subprocess.run([sys.executable, "-c", code], check=True)


@pytest.mark.parametrize("part", ["json", "asyncio", "email.mime", "argparse"])
def test_parts_of_the_standard_library(part: str) -> None:
    arrays = load(BuiltinSource("python-text", part), OPTIONS, "language_modeling")
    text = arrays.x_train.tobytes() + arrays.x_val.tobytes()
    assert b"def " in text
    assert len(text) == arrays.info.size_bytes
    assert digest(BuiltinSource("python-text", part)) == digest(BuiltinSource("python-text", part))


def test_the_whole_standard_library_holds_its_parts_and_no_installed_packages() -> None:
    whole = load(BuiltinSource("python-text"), OPTIONS, "language_modeling")
    text = whole.x_train.tobytes() + whole.x_val.tobytes()
    assert b"class JSONDecoder" in text
    assert b"class FastAPI" not in text


@pytest.mark.parametrize(
    "part", ["nothing", "../..", "site-packages", "json/../email", "", "test", "json.tests", "/etc"]
)
def test_a_part_that_is_not_there_is_told(part: str) -> None:
    with pytest.raises(DataError, match=r"no part.*asyncio"):
        inspect(BuiltinSource("python-text", part), OPTIONS)


def test_releases_are_named() -> None:
    assert release(BuiltinSource("digits")).startswith("scikit-learn ")
    assert release(BuiltinSource("python-text")).startswith("Python 3.")
