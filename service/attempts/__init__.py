"""Attempts: one try at running a job, guarded by a lease and a fencing token.

A job is claimed with one conditional UPDATE that sets both. The runner extends the lease with its heartbeats; every
write of it is under the token, so an attempt that was given up can no longer change anything. The dispatcher ends
what lost its lease. Nobody else writes to an attempt.
"""

from service.attempts.claims import (
    Claim,
    Live,
    Living,
    claim_next,
    claim_this,
    live,
    living,
    obey_intents,
    read,
    set_pid,
)
from service.attempts.endings import Outcome, backoff_s, finish, release_lost
from service.attempts.fence import Category, Failure, Fence, Intent, LostLease
from service.attempts.groups import Group, begin_group, grant, granted
from service.attempts.reports import (
    add_event,
    add_log,
    add_metrics,
    add_warp,
    heartbeat,
    latest_checkpoint,
    publish_checkpoint,
    running_seconds,
    start,
)

__all__ = [
    "Category",
    "Claim",
    "Failure",
    "Fence",
    "Group",
    "Intent",
    "Live",
    "Living",
    "LostLease",
    "Outcome",
    "add_event",
    "add_log",
    "add_metrics",
    "add_warp",
    "backoff_s",
    "begin_group",
    "claim_next",
    "claim_this",
    "finish",
    "grant",
    "granted",
    "heartbeat",
    "latest_checkpoint",
    "live",
    "living",
    "obey_intents",
    "publish_checkpoint",
    "read",
    "release_lost",
    "running_seconds",
    "set_pid",
    "start",
]
