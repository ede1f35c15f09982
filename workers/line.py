"""The queue as the dispatcher works with it: reads it, asks the policy (workers/admission.py), and claims.

Each look reads one row for each lane of the queue and one for each job that holds resources, whatever waits behind.
"""

from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import datetime

from sqlalchemy.orm import Session

from service import attempts, clock, queue
from service.attempts import Claim
from service.cluster import TOO_LARGE, ClusterState
from service.queue import Candidate, Holder, Reason
from service.settings import Settings
from service.spec import JobSpec, read_stored
from workers.admission import Holding, Waiting, decide, shares_of
from workers.cluster import View
from workers.elastic import Elastic, first_size, resized
from workers.policies import Need

ACCOUNT_EVERY_S = 5.0
"""How often projects are charged for what they hold."""
MOST_TOLD = 500
"""Of so many lanes it is told why their first job waits."""
_TRIES = 20
"""How often a claimer looks again whose job went to another."""

MayStart = Callable[[str, JobSpec], bool]


WhyNot = Callable[[str, JobSpec], str | None]

QUOTA = "waits until its project runs less: its quota is used up"


def _by_its_quota(_project: str, _spec: JobSpec) -> str | None:
    return QUOTA


def _anybody(_project: str, _spec: JobSpec) -> bool:
    return True


@dataclass
class Line:
    """What one dispatcher remembers of the queue: all of it can be lost."""

    settings: Settings
    _reasons: dict[str, Reason] = field(default_factory=dict, init=False)
    _accounted: datetime | None = field(default=None, init=False)

    def claim(
        self,
        session: Session,
        view: View,
        launcher: str,
        may_start: MayStart = _anybody,
        now: datetime | None = None,
        *,
        why_not: WhyNot = _by_its_quota,
    ) -> Claim | None:
        """Claims whose turn it is and who fits beside what is reserved; None where there is nobody.

        `may_start` says whether a project may start such a job at all, by its quotas; `why_not`, what then to tell.
        """
        for _ in range(_TRIES):
            at = now or clock.now()
            heads = queue.heads(session, at)
            specs = {each.id: read_stored(each.spec) for each in heads}
            allowed = [each for each in heads if may_start(each.project, specs[each.id])]
            waiting = [_waiting(each, specs[each.id], at) for each in allowed]
            holding = holdings(queue.holders(session), at)
            decision = decide(
                waiting,
                view.nodes,
                holding,
                queue.shares_used(session, at, self.settings.fair_share_half_life_s),
                patience_s=self.settings.queue_patience_s,
            )
            self._reasons = dict(decision.reasons) | {
                each.lane: Reason("quota", why_not(each.project, specs[each.id]) or QUOTA)
                for each in heads
                if each not in allowed
            }
            if decision.due is not None and decision.due.due_s is None:
                queue.mark_due(session, decision.due.id, at)
            if decision.start is None:
                return None
            chosen = next(each for each in heads if each.id == decision.start.id)
            claim = attempts.claim_this(
                session,
                chosen,
                now=at,
                lease_s=self.settings.start_s,
                launcher=launcher,
                workers=first_size(
                    decision.start.need,
                    specs[chosen.id].resources.max_workers,
                    [each for each in waiting if each.id != chosen.id],
                    view.nodes,
                    [each.need for each in holding],
                ),
            )
            if claim is not None:
                return claim
        return None

    def resize(
        self, session: Session, view: View, may_start: MayStart = _anybody, now: datetime | None = None
    ) -> dict[str, int]:
        """Grants elastic jobs more or fewer workers, behind admission's lock; job → number, of those it changed."""
        at = now or clock.now()
        holders = queue.holders(session)
        elastic = [_elastic(each, at) for each in holders if each.granted is not None and each.groups]
        if not elastic:
            return {}
        at_work = {each.id for each in elastic}
        changed = resized(
            elastic,
            [_waiting(each, spec, at) for each, spec in self._allowed(session, at, may_start)],
            view.nodes,
            holdings([each for each in holders if each.id not in at_work], at),
            queue.shares_used(session, at, self.settings.fair_share_half_life_s),
            every_s=self.settings.elastic_every_s,
        )
        for each in holders:
            if each.id in changed:
                attempts.grant(session, each.id, each.attempt, changed[each.id])
        return changed

    def _allowed(self, session: Session, at: datetime, may_start: MayStart) -> list[tuple[Candidate, JobSpec]]:
        heads = [(each, read_stored(each.spec)) for each in queue.heads(session, at)]
        return [(each, spec) for each, spec in heads if may_start(each.project, spec)]

    def told(self) -> dict[str, dict[str, str]]:
        """Lane → why its first job does not start."""
        return {lane: reason.as_json() for lane, reason in list(self._reasons.items())[:MOST_TOLD]}

    def look(self, session: Session, view: View, seen: ClusterState) -> None:
        """What is done once a second: jobs that could never start, and what projects use."""
        now = clock.now()
        stuck = {
            each.lane: Reason(TOO_LARGE, shortage)
            for each in queue.heads(session)
            if (shortage := seen.shortage(read_stored(each.spec).resources)) is not None
        }
        queue.mark_stuck(session, stuck, now)
        if stuck:
            queue.fail_overdue(session, stuck, now)
        if self._accounted is None or (now - self._accounted).total_seconds() >= ACCOUNT_EVERY_S:
            self._accounted = now
            shares = shares_of(view.nodes, holdings(queue.holders(session), now))
            queue.account(session, shares, now, self.settings.fair_share_half_life_s)


def need_of(holder: Holder) -> Need:
    """What a job that has an attempt reserves at present."""
    return Need.of(read_stored(holder.spec).resources, holder.reserved)


def holdings(holders: list[Holder], now: datetime) -> list[Holding]:
    return [Holding(each.project, need_of(each), (now - each.claimed_at).total_seconds()) for each in holders]


def _elastic(holder: Holder, now: datetime) -> Elastic:
    resources = read_stored(holder.spec).resources
    began = datetime.fromisoformat(holder.groups[-1]["at"])
    return Elastic(
        id=holder.id,
        project=holder.project,
        need=Need.of(resources, holder.granted),
        least=resources.min_workers,
        most=resources.max_workers,
        is_settled=holder.granted == holder.workers,
        still_s=(now - began).total_seconds(),
        eta_s=holder.eta_s,
    )


def _waiting(each: Candidate, spec: JobSpec, now: datetime) -> Waiting:
    waited = 0.0 if each.queued_at is None else (now - each.queued_at).total_seconds()
    due = None if each.due_since is None else (now - each.due_since).total_seconds()
    return Waiting(each.id, each.project, each.lane, each.priority, Need.of(spec.resources), waited, due)
