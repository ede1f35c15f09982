"""From one group of workers to the next, within one attempt of an elastic job.

A group ends because the attempt was granted another number of workers, or because it lost some. Then the runner, behind
the lock of admission and from the nodes that answer, takes as many as it may have and as there is room for, and a new
group goes on from the newest checkpoint. This is not Ray Train's own elasticity: that knows nothing of what other jobs
have reserved, ends its workers unasked to grow, and waits for nodes that Ray has not yet noticed to be gone.
"""

import time
from collections.abc import Callable, Sequence
from dataclasses import replace

from sqlalchemy.orm import Session

from service import attempts, clock, queue
from service.attempts import Fence
from service.db.locks import Lock, take_turns
from service.db.outages import patiently
from workers import checkpoints
from workers.cluster import living_nodes
from workers.elastic import most_that_fit
from workers.failures import Cause, WorkersLostError
from workers.line import need_of
from workers.loading import Memory
from workers.plan import Plan
from workers.policies import Need, Node
from workers.reporting import Outcome, Saved, Stop

MOST_IN_VAIN = 3
"""So many groups in a row that got no further are enough: then the attempt fails, and its budget of retries decides."""
PATIENCE_S, LOOK_S = 30.0, 1.0
"""Room for the fewest workers is waited for so long: what died with a node is still reserved for a moment."""
_LOST = ("worker_failed", "not_placed")


class Regroup:
    """Makes the plan of each next group."""

    def __init__(
        self,
        memory: Memory,
        fence: Fence,
        plan: Plan,
        nodes: Callable[[], Sequence[Node]] = living_nodes,
        patience_s: float = PATIENCE_S,
    ) -> None:
        self._memory, self._fence, self._plan = memory, fence, plan
        self._nodes, self._patience_s = nodes, patience_s
        self._reached, self._in_vain = -1, 0

    def after(
        self, ending: Outcome | Cause, newest: Saved | None, asked: Callable[[], Stop | None]
    ) -> Plan | Outcome | Cause:
        """The plan of the next group, or how the attempt has ended. `newest`: its last checkpoint, if there is one."""
        if not self._goes_on(ending, newest):
            return ending
        plan = self._plan
        if newest is not None and newest.state is not None:
            plan = replace(plan, resume_model=newest.model, resume_state=newest.state)
        deadline = time.monotonic() + self._patience_s
        while True:
            if (stop := asked()) is not None:
                return Outcome(start_step(plan), 0.0, stopped=stop)
            group = self._settle(start_step(plan), ending)
            if group is not None:
                self._plan = replace(plan, workers=group.workers, group=group.number, watermark=group.watermark)
                return self._plan
            if time.monotonic() >= deadline:
                return self._no_room(ending)
            time.sleep(LOOK_S)

    def _goes_on(self, ending: Outcome | Cause, newest: Saved | None) -> bool:
        if not self._plan.is_elastic:
            return False
        if isinstance(ending, Outcome):
            return ending.stopped == "resize"
        if ending.code not in _LOST:
            return False
        step = -1 if newest is None else newest.step
        self._in_vain = 0 if step > self._reached else self._in_vain + 1
        self._reached = max(step, self._reached)
        return self._in_vain < MOST_IN_VAIN

    def _settle(self, step: int, ending: Outcome | Cause) -> attempts.Group | None:
        """Takes what there is room for; None where that is less than the job's fewest."""
        nodes = self._nodes()

        def work(session: Session) -> attempts.Group | None:
            take_turns(session, Lock.ADMISSION)
            most = self._most(attempts.granted(session, self._fence), ending)
            held = [need_of(each) for each in queue.holders(session) if each.id != self._fence.job_id]
            least = self._plan.spec.resources.min_workers
            workers = most_that_fit(Need.of(self._plan.spec.resources), least, most, nodes, held)
            if workers is None:
                return None
            if isinstance(ending, Cause):
                text = f"{ending.message} Training goes on from step {step}."
                attempts.add_event(
                    session, self._fence, "warning", "warning", text, {"step": step, "code": ending.code}
                )
            return attempts.begin_group(session, self._fence, step=step, workers=workers, now=clock.now())

        return patiently(lambda: self._memory.database.write(work), self._memory.settings.database_patience_s)

    def _most(self, granted: int | None, ending: Outcome | Cause) -> int:
        """One fewer than could not be placed; the cluster's own word is not enough then."""
        resources = self._plan.spec.resources
        most = min(granted or resources.min_workers, resources.max_workers)
        if isinstance(ending, Cause) and ending.code == "not_placed":
            most = min(most, self._plan.workers - 1)
        return max(most, resources.min_workers)

    def _no_room(self, ending: Outcome | Cause) -> Cause:
        if isinstance(ending, Cause):
            return ending
        return WorkersLostError(f"there is no room any more for {self._plan.spec.resources.min_workers} workers").cause


def start_step(plan: Plan) -> int:
    return checkpoints.position_of(plan.resume_state).step if plan.resume_state is not None else 0
