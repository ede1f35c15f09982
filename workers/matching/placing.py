"""Where a match is measured: in the process that was started for it, or on a cluster on a node that trains.

There the process has the credentials and little room, so it reads, and a task on a worker gets what was read, as
values. The task reserves no CPU: admission counts CPUs by the jobs in the database, and would not know of it.
"""

import os
from collections.abc import Sequence
from dataclasses import replace

import torch

from service.errors import Unavailable
from service.settings import Settings
from workers.matching.measure import Candidate, Measured, measure, thinned
from workers.plan import Plan

NICE = 5
"""What trains goes before."""


def measure_somewhere(settings: Settings, plan: Plan, candidates: Sequence[Candidate], limit: int) -> Measured:
    """Raises what `measure` does, and Unavailable where no node of the cluster trains at present."""
    if settings.launcher == "process":
        return measure_gently(plan, candidates, limit)
    return _on_a_worker(settings, replace(plan, split=thinned(plan.split)), candidates, limit)


def measure_gently(plan: Plan, candidates: Sequence[Candidate], limit: int) -> Measured:
    """In this process, which does nothing else afterwards."""
    os.nice(NICE)
    torch.set_num_threads(1)
    return measure(plan, candidates, limit)


def _on_a_worker(settings: Settings, plan: Plan, candidates: Sequence[Candidate], limit: int) -> Measured:
    import ray
    from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy

    from workers.cluster import living_nodes
    from workers.ray_connection import connect

    connect(settings)
    nodes = [each for each in living_nodes() if each.cpus > 0]
    if not nodes:
        raise Unavailable("no node of the cluster has a CPU to measure with")
    node = max(nodes, key=lambda each: each.cpus)
    there = NodeAffinitySchedulingStrategy(node.id, soft=False)
    options = {"num_cpus": 0, "max_retries": 0, "max_calls": 1, "scheduling_strategy": there}
    task = ray.remote(**options)(measure_gently)  # type: ignore[call-overload]
    found: Measured = ray.get(task.remote(plan, list(candidates), limit))
    return found
