"""JobSpec: the one description of a job: HTTP body, JSON in the database, input of the worker.

Requests are read strictly (`JobSpec.model_validate`: an unknown field is an error, so is a text for a number), stored
specs leniently (`read_stored`: what a newer version wrote and this one does not know is dropped).
"""

from typing import Annotated, Any, Literal

from pydantic import Field, model_validator

from service.spec_models import Model
from service.spec_parts import Bool, Int, NonNegative, Number, Part, Positive

SPEC_VERSION = 1

NAME_PATTERN = r"^[a-z0-9][a-z0-9-]{0,63}$"
BUILTINS = ("digits", "python-text")
MAX_METADATA = 16
MAX_STEPS = 100_000_000

Task = Literal["regression", "classification", "language_modeling"]
Format = Literal["npz", "csv", "parquet", "images", "text", "package"]
Columns = Annotated[list[Annotated[str, Field(max_length=200)]], Field(min_length=1, max_length=4_000)]


class DatasetOptions(Part):
    """How a dataset is read: the fields of its registration."""

    name: Annotated[str, Field(max_length=200)] | None = None
    format: Format | None = None
    target: Annotated[str, Field(max_length=500)] | None = None
    """Column of the labels or values; several, separated by commas, for a regression with several targets."""
    val_fraction: Number = Field(default=0.1, gt=0, lt=1)
    split_seed: Annotated[Int, Field(ge=0, lt=2**63)] = 0
    normalize: Literal["standard"] | None = None


class DatasetRef(DatasetOptions):
    """Exactly one of `id`, `uri` (with its registration's fields) and `builtin`."""

    id: str | None = None
    uri: Annotated[str, Field(max_length=2000)] | None = None
    builtin: Literal["digits", "python-text"] | None = None
    part: Annotated[str, Field(max_length=100)] | None = None
    """For `python-text`: a subpackage of Python's standard library, such as `json` or `asyncio`."""
    config: Annotated[str, Field(max_length=200)] | None = None
    """Of a data set of the hub, `hf://datasets/<owner>/<name>@<revision>`: its configuration."""
    split: Annotated[str, Field(max_length=200)] | None = None
    """The same: `train` where absent; `train[:10%]` and `train+test` are understood too."""
    columns: Columns | None = None
    """The same: the columns that are read, beside the target; all where absent."""
    max_length: Annotated[Int, Field(ge=1, le=65_536)] | None = None
    """The same, of text with labels: so many of its bytes are inputs; 256 where absent."""

    @model_validator(mode="after")
    def _hub_alone_has_these(self) -> "DatasetRef":
        given = [name for name in ("config", "split", "columns", "max_length") if getattr(self, name) is not None]
        if given and not (self.uri or "").lower().startswith("hf://"):
            raise ValueError(f"{given[0]} goes with a uri of the hub only: hf://datasets/<owner>/<name>")
        return self

    @model_validator(mode="after")
    def _exactly_one(self) -> "DatasetRef":
        if sum(value is not None for value in (self.id, self.uri, self.builtin)) != 1:
            raise ValueError("give exactly one of id, uri and builtin")
        if self.part is not None and self.builtin != "python-text":
            raise ValueError("part goes with builtin: python-text only")
        return self


class FromCheckpoint(Part):
    checkpoint: Annotated[str, Field(max_length=200)]
    """`job_…/best`, `job_…/last`, `job_…/<step>` or `ckpt_…`; or `hf://<owner>/<name>@<revision>`, weights of the hub,
    which become a `ckpt_…` at submit."""


class FromFamily(Part):
    family: Annotated[str, Field(max_length=200)]
    """The base from which the family's start grows, written like a checkpoint."""


class OptimizerSpec(Part):
    name: Literal["warpadam", "adamw"] = "warpadam"
    lr: Number = Field(default=0.001, gt=0)
    betas: tuple[Annotated[Number, Field(ge=0, lt=1)], Annotated[Number, Field(ge=0, lt=1)]] = (0.9, 0.999)
    eps: Number = Field(default=1e-8, gt=0)
    weight_decay: Number = Field(default=0.0, ge=0)
    warp: Annotated[Int, Field(ge=1)] | Annotated[str, Field(pattern=NAME_PATTERN)] = "champion"
    follow: Bool = False
    project_back: Bool = True
    nesterov: Bool = False
    """Whether the momentum looks one step ahead; of `name: warpadam` only."""
    adapt: Literal["none", "hidden", "all"] = "none"
    """Whether P goes on adapting to this job's own gradients: on the axes that no family can share, or on all."""
    learn: Literal["covariance", "hypergradient", "none"] = "covariance"

    @model_validator(mode="after")
    def _follow_needs_an_alias(self) -> "OptimizerSpec":
        if self.follow and (isinstance(self.warp, int) or self.warp in ("data", "none")):
            raise ValueError("follow moves along an alias: warp must be champion, latest or another alias")
        return self

    @model_validator(mode="after")
    def _nesterov_is_ours(self) -> "OptimizerSpec":
        if self.nesterov and self.name != "warpadam":
            raise ValueError("nesterov is warpadam's: with name warpadam and warp none it is AdamW with that momentum")
        return self

    @model_validator(mode="after")
    def _adapt_needs_a_basis(self) -> "OptimizerSpec":
        if self.adapt == "none":
            return self
        if self.name != "warpadam":
            raise ValueError(f"adapt is warpadam's: name must be warpadam, not {self.name}, or adapt none")
        if not self.project_back:
            raise ValueError("adapt needs project_back: the paper's rule has no basis that could follow the gradient")
        if self.adapt == "all" and self.follow:
            raise ValueError("adapt all leaves nothing of P to follow: use adapt hidden, or follow false")
        return self


class TrainingSpec(Part):
    steps: Annotated[Int, Field(ge=1, le=MAX_STEPS)] | None = None
    epochs: Annotated[Int, Field(ge=1, le=1_000_000)] | None = None
    batch_size: Annotated[Int, Field(ge=1, le=1_000_000)] = 64
    schedule: Literal["cosine", "linear", "constant"] = "cosine"
    warmup_steps: NonNegative = 0
    grad_clip: Annotated[Number, Field(gt=0)] | None = None
    seed: Annotated[Int, Field(ge=0, lt=2**63)] | None = None
    precision: Literal["fp32", "bf16"] = "fp32"
    eval_every: NonNegative = 25
    checkpoint_every: NonNegative = 100
    sync_every: Positive = 50

    @model_validator(mode="after")
    def _steps_or_epochs(self) -> "TrainingSpec":
        if self.steps is not None and self.epochs is not None:
            raise ValueError("give steps or epochs, not both")
        return self


class WorkerRange(Part):
    """Elastic: the job starts where there is room for `min`, and has up to `max` while nobody else needs the place."""

    min: Annotated[int, Field(ge=1, le=10_000)]
    max: Annotated[int, Field(ge=1, le=10_000)]

    @model_validator(mode="after")
    def _ordered(self) -> "WorkerRange":
        if self.min > self.max:
            raise ValueError("min is larger than max")
        return self


class Resources(Part):
    workers: Annotated[Int, Field(ge=1, le=10_000)] | WorkerRange = 1
    cpus_per_worker: Annotated[Number, Field(gt=0)] = 1
    gpus_per_worker: Annotated[Number, Field(ge=0)] = 0

    @property
    def is_elastic(self) -> bool:
        """Whether the number of workers may change while the job runs."""
        return isinstance(self.workers, WorkerRange)

    @property
    def min_workers(self) -> int:
        return self.workers if isinstance(self.workers, int) else self.workers.min

    @property
    def max_workers(self) -> int:
        return self.workers if isinstance(self.workers, int) else self.workers.max


class Retries(Part):
    infrastructure: NonNegative = 3
    preemption: NonNegative = 10
    user: NonNegative = 0


class JobSpec(Part):
    family: Annotated[str, Field(pattern=NAME_PATTERN)]
    name: Annotated[str, Field(max_length=200)] | None = None
    dataset: DatasetRef
    task: Task
    model: Model
    init: Literal["random", "family"] | FromCheckpoint | FromFamily = "random"
    optimizer: OptimizerSpec = OptimizerSpec()
    training: TrainingSpec = TrainingSpec()
    resources: Resources = Resources()
    priority: Annotated[Int, Field(ge=-1_000_000, le=1_000_000)] = 0
    retries: Retries = Retries()
    timeout_s: Annotated[Number, Field(gt=0)] | None = None
    queue_timeout_s: Annotated[Number, Field(gt=0)] | None = 600
    metadata: Annotated[
        dict[Annotated[str, Field(min_length=1, max_length=64)], Annotated[str, Field(max_length=512)]],
        Field(max_length=MAX_METADATA),
    ] = Field(default={})

    @property
    def contributes(self) -> bool:
        return self.optimizer.learn != "none"


def read_stored(stored: dict[str, Any]) -> JobSpec:
    """A spec from the database; fields that this version does not know are dropped."""
    return JobSpec.model_validate(stored, extra="ignore")
