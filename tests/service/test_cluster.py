"""The cluster's snapshot, and what could never fit into it."""

from typing import Any

import pytest

from service import cluster
from service.cluster import ClusterState
from service.spec import Resources
from tests.service.kit import NOW, PROJECT, Bench, later

NODES = [
    {"id": "a", "alive": True, "cpus": 4, "gpus": 2},
    {"id": "b", "alive": True, "cpus": 3, "gpus": 0},
    {"id": "c", "alive": False, "cpus": 64, "gpus": 8},
]


def test_before_any_snapshot(bench: Bench) -> None:
    bench.submit()
    found = bench.read(cluster.read)
    assert (found["nodes"], found["at"], found["queue"]) == ([], None, {"queued": 1, "running": 0})
    assert ClusterState().shortage(Resources(gpus_per_worker=99)) is None


def test_the_newest_snapshot_with_the_queue_of_now(bench: Bench) -> None:
    bench.submit()
    bench.running(priority=1)
    for dispatcher, cpus, at in (("d1", 8, 5), ("d2", 9, 1), ("d1", 7, 6)):
        data = {"nodes": NODES, "cpus": cpus, "gpus": 2, "free_cpus": 1, "free_gpus": 0, "ray": "2.60"}
        bench.write(lambda s, who=dispatcher, what=data, t=at: cluster.write_snapshot(s, who, what, later(t)))
    found = bench.read(cluster.read)
    assert (found["cpus"], found["dispatcher"], found["ray"], found["nodes"][0]["id"]) == (7, "d1", "2.60", "a")
    assert found["queue"] == {"queued": 1, "running": 1}
    assert bench.read(cluster.seen).at == later(6) > NOW


def test_the_queue_is_the_projects_own_and_counts_what_has_not_ended(bench: Bench) -> None:
    for outcome in ("succeeded", "cancelled", "paused"):
        bench.finish(bench.running(), outcome)
    gone = bench.submit().id
    bench.ask("cancel", gone)
    bench.ask("delete", gone)
    bench.running()
    bench.submit()
    bench.submit()
    assert bench.read(lambda session: cluster.seen(session, PROJECT)).queue == {"queued": 2, "running": 1}
    assert bench.read(lambda session: cluster.seen(session, "another")).queue == {"queued": 0, "running": 0}


@pytest.mark.parametrize(
    ("resources", "message"),
    [
        ({}, None),
        ({"workers": 7}, None),
        ({"workers": 2, "cpus_per_worker": 3}, None),
        ({"workers": 4, "gpus_per_worker": 0.5, "cpus_per_worker": 0.5}, None),
        ({"workers": 8}, "needs 8 workers, the cluster has room for 7"),
        ({"cpus_per_worker": 5}, "needs 5 CPUs a worker, the largest node has 4"),
        ({"gpus_per_worker": 4}, "needs 4 GPUs a worker, the largest node has 2"),
        ({"workers": 3, "gpus_per_worker": 1}, "needs 3 workers, the cluster has room for 2"),
    ],
)
def test_shortage(resources: dict[str, Any], message: str | None) -> None:
    state = ClusterState.model_validate({"nodes": NODES})
    assert state.shortage(Resources.model_validate(resources)) == message
