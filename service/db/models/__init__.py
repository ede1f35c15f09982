"""The tables. What each process may write is DESIGN's table "Who writes what".

Every row that a runner or a meta-learner writes is guarded: a runner's by its attempt's fencing token
(`attempts.token`, equal to `jobs.token` while the attempt owns the job), a meta-learner's by its family's `epoch`.
"""

from service.db.models.base import Base, Json, UtcDateTime
from service.db.models.blobs import Blob, BlobPiece
from service.db.models.datasets import Dataset
from service.db.models.families import Alias, AliasChange, Family, WarpVersion
from service.db.models.garbage import CondemnedFile
from service.db.models.jobs import Attempt, Job, JobLabel, Transition
from service.db.models.keys import ApiKey, AuditRecord, Project
from service.db.models.ledger import Contribution, JobSum
from service.db.models.matches import FamilyMatch
from service.db.models.queue import ProjectUsage
from service.db.models.records import Checkpoint, Event, LogChunk, MetricPoint
from service.db.models.starts import StartContribution, StartVersion
from service.db.models.system import IdempotencyKey, Receipt, Snapshot
from service.db.models.webhooks import Delivery, Webhook

__all__ = [
    "Alias",
    "AliasChange",
    "ApiKey",
    "Attempt",
    "AuditRecord",
    "Base",
    "Blob",
    "BlobPiece",
    "Checkpoint",
    "CondemnedFile",
    "Contribution",
    "Dataset",
    "Delivery",
    "Event",
    "Family",
    "FamilyMatch",
    "IdempotencyKey",
    "Job",
    "JobLabel",
    "JobSum",
    "Json",
    "LogChunk",
    "MetricPoint",
    "Project",
    "ProjectUsage",
    "Receipt",
    "Snapshot",
    "StartContribution",
    "StartVersion",
    "Transition",
    "UtcDateTime",
    "WarpVersion",
    "Webhook",
]
