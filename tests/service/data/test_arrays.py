"""Data that lies in mapped files is the same data."""

import errno
import io
import os
import pickle
import subprocess
import sys
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from service.data import FileSource, Limits, load
from service.data.arrays import empty
from service.errors import StorageFull
from service.spec import DatasetOptions, Task
from tests.service.data.sources import color, csv, file, gray, npz, zipped


def _parquet() -> FileSource:
    buffer = io.BytesIO()
    rows = np.arange(300_000)
    pq.write_table(pa.table({"a": rows, "b": rows / 7, "target": [f"class {i % 3}" for i in rows]}), buffer)
    return file("data.parquet", buffer.getvalue())


def _sources() -> dict[str, tuple[FileSource, Task]]:
    rng = np.random.default_rng(0)
    x, y = rng.standard_normal((40, 3)), rng.standard_normal((40, 2))
    lines = "".join(f"{i}.5,{i % 2},{'yes' if i % 3 else 'no'}\n" for i in range(900_000))
    images = {"a/1.png": gray(1), "a/2.png": gray(2), "b/1.png": color(3), "b/2.png": color(4)}
    return {
        "npz": (npz(x=np.asfortranarray(x).astype(">f8"), y=y), "regression"),
        "csv, in two blocks": (csv(f"a,b,target\n{lines}"), "classification"),
        "parquet, in many batches": (_parquet(), "classification"),
        "images": (zipped(images), "classification"),
        "text": (file("a.txt", bytes(range(256)) * 4), "language_modeling"),
    }


@pytest.mark.parametrize("name", _sources())
def test_on_disk_as_in_memory(name: str, tmp_path: Path) -> None:
    source, task = _sources()[name]
    options = DatasetOptions(normalize=None if task == "language_modeling" else "standard")
    memory = load(source, options, task)
    disk = load(source, options, task, Limits(memory_bytes=0, scratch=tmp_path / "scratch"))
    assert disk.info == memory.info
    for part in ("x_train", "y_train", "x_val", "y_val"):
        np.testing.assert_array_equal(getattr(disk, part), getattr(memory, part))
    assert list((tmp_path / "scratch").iterdir()) == []


def test_a_mapped_array_leaves_the_process_without_a_copy(tmp_path: Path) -> None:
    array = empty((1000, 1000), "f4", Limits(memory_bytes=0, scratch=tmp_path))
    buffers: list[pickle.PickleBuffer] = []
    assert len(pickle.dumps(array, protocol=5, buffer_callback=buffers.append)) < 1000
    assert sum(buffer.raw().nbytes for buffer in buffers) == array.nbytes


def test_a_full_disk_is_told_before_anything_is_written(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(*_: object) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(os, "posix_fallocate", full, raising=False)
    with pytest.raises(StorageFull):
        empty((1000,), "f4", Limits(memory_bytes=0, scratch=tmp_path))


_LIMITED = """
import resource, sys
import numpy as np, torch
from pathlib import Path
from service.data import FileSource, Limits, load
from service.spec import DatasetOptions
from workers.tasks import data
torch.set_num_threads(1)
path, scratch = Path(sys.argv[1]), Path(sys.argv[2])
used = 1024 * next(int(line.split()[1]) for line in open("/proc/self/status") if line.startswith("VmData"))
resource.setrlimit(resource.RLIMIT_DATA, (used + 48 * 2**20,) * 2)  # memory of its own; mapped files do not count
try:
    np.ones(path.stat().st_size // 8)
except MemoryError:
    pass
else:
    raise SystemExit("the limit does not hold")
source = FileSource("x.npz", path.stat().st_size, lambda: path.open("rb"))
arrays = load(source, DatasetOptions(), "regression", Limits(memory_bytes=4 * 2**20, scratch=scratch))
split = data.Split(arrays.x_train, arrays.y_train, arrays.x_val, arrays.y_val)
data.RESIDENT_BYTES = 2**20
def batches(share):
    cpu = torch.device("cpu")
    return data.batches("regression", split, context=None, batch_size=64, seed=3, device=cpu, share=share)
whole, shares = batches(data.Share()), [batches(data.Share(rank, 2)) for rank in range(2)]
weights = torch.zeros(split.x_train.shape[1], 1, requires_grad=True)
for step in range(20):
    x, y = whole.train(step)
    assert torch.equal(x, torch.cat([share.train(step)[0] for share in shares]))
    torch.nn.functional.mse_loss(x @ weights, y).backward()
    with torch.no_grad():
        weights -= 0.05 * weights.grad
    weights.grad = None
loss = sum(float(torch.nn.functional.mse_loss(x @ weights, y, reduction="sum")) for x, y in whole.validation())
print(loss / len(split.y_val))
"""


@pytest.mark.skipif(sys.platform != "linux", reason="only Linux limits memory by RLIMIT_DATA")
def test_training_on_data_larger_than_the_memory(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    x = rng.standard_normal((150_000, 128), dtype=np.float32)  # 77 MB, read and converted: 154
    np.savez(tmp_path / "x.npz", x=x, y=x[:, :1] * 2)
    root = Path(__file__).parents[3]
    ran = subprocess.run(
        [sys.executable, "-c", _LIMITED, str(tmp_path / "x.npz"), str(tmp_path / "scratch")],
        env={**os.environ, "PYTHONPATH": str(root), "OMP_NUM_THREADS": "1", "OPENBLAS_NUM_THREADS": "1"},
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    assert ran.returncode == 0, ran.stderr[-2000:]
    assert float(ran.stdout) < 4
