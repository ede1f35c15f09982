"""On a cluster a worker measures what the process has read."""

import os
from collections.abc import Iterator

import pytest
import torch

from service.settings import Settings
from tests.workers.plans import plan
from workers.matching import measure, placing
from workers.matching.measure import Measured


@pytest.fixture
def quick(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    monkeypatch.setattr(measure, "BUDGET_S", 0.1)
    threads = torch.get_num_threads()
    yield
    torch.set_num_threads(threads)


def test_alone_it_is_measured_here(quick: None, monkeypatch: pytest.MonkeyPatch) -> None:
    nice: list[int] = []
    monkeypatch.setattr(os, "nice", nice.append)
    found = placing.measure_somewhere(Settings(), plan(), [], 1)
    assert (found.by, nice) == ("gradients", [placing.NICE])


@pytest.mark.ray
@pytest.mark.usefixtures("ray_connection")
def test_on_a_cluster_a_worker_measures(ray_address: str, monkeypatch: pytest.MonkeyPatch) -> None:
    def elsewhere(*_: object) -> Measured:
        raise AssertionError("not in this process")

    monkeypatch.setattr(placing, "measure", elsewhere)
    settings = Settings(ray_address=ray_address, launcher="ray-jobs")
    model = {"arch": "mlp", "hidden": [1200, 1200], "activation": "relu", "input": 6, "output": 3}
    large = plan(model=model, training={"batch_size": 64})  # gradients alone: seconds less
    found = placing.measure_somewhere(settings, large, [], 1)
    assert (found.by, found.axes, found.families) == ("gradients", 2, [])
    assert found.data is not None
