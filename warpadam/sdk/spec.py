"""The job description as types for editors and type checkers; what each field means: CONTRACT, Job description.

Nothing is checked here: the service does that, strictly, and its error names each field.
"""

from collections.abc import Mapping, Sequence
from typing import Any, Literal, TypedDict

Task = Literal["regression", "classification", "language_modeling"]


class DatasetFields(TypedDict, total=False):
    """Exactly one of `id`, `uri` and `builtin`; the rest goes with `uri`, `part` with `builtin: python-text`,
    `config`, `split`, `columns` and `max_length` with a `uri` of the hub."""

    id: str
    uri: str
    builtin: Literal["digits", "python-text"]
    part: str
    name: str
    format: Literal["npz", "csv", "parquet", "images", "text", "package"]
    target: str
    val_fraction: float
    split_seed: int
    normalize: Literal["standard"]
    config: str
    split: str
    columns: Sequence[str]
    max_length: int


class OptimizerFields(TypedDict, total=False):
    name: Literal["warpadam", "adamw"]
    lr: float
    betas: Sequence[float]
    eps: float
    weight_decay: float
    warp: int | str
    follow: bool
    project_back: bool
    nesterov: bool
    adapt: Literal["none", "hidden", "all"]
    learn: Literal["covariance", "hypergradient", "none"]


class TrainingFields(TypedDict, total=False):
    steps: int
    epochs: int
    batch_size: int
    schedule: Literal["cosine", "linear", "constant"]
    warmup_steps: int
    grad_clip: float | None
    seed: int
    precision: Literal["fp32", "bf16"]
    eval_every: int
    checkpoint_every: int
    sync_every: int


class WorkerRange(TypedDict):
    min: int
    max: int


class ResourceFields(TypedDict, total=False):
    workers: int | WorkerRange
    cpus_per_worker: float
    gpus_per_worker: float


class RetryFields(TypedDict, total=False):
    infrastructure: int
    preemption: int
    user: int


class JobFields(TypedDict, total=False):
    """`family`, `dataset`, `task` and `model` are required by the service."""

    family: str
    name: str | None
    dataset: DatasetFields
    task: Task
    model: Mapping[str, Any]
    init: str | Mapping[str, str]
    optimizer: OptimizerFields
    training: TrainingFields
    resources: ResourceFields
    priority: int
    retries: RetryFields
    timeout_s: float | None
    queue_timeout_s: float | None
    metadata: Mapping[str, str]


class MatchFields(TypedDict, total=False):
    """`dataset`, `task` and `model` are required by the service; `families`: only these."""

    dataset: DatasetFields
    task: Task
    model: Mapping[str, Any]
    init: str | Mapping[str, str]
    families: Sequence[str] | None
    limit: int
    batch_size: int
    seed: int
