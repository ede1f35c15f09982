"""Everything a worker needs to train, as values: no database, no storage, no credentials. It can be pickled."""

from dataclasses import dataclass

from service.settings import Confinement
from service.spec import JobSpec
from warpadam.learn.statistics import MAX_CONTRIBUTION_BYTES
from warpadam.shapes import MAX_AXIS, Model, is_code
from workers.tasks.data import Split


@dataclass(frozen=True)
class Plan:
    """One attempt of one job, resolved. Byte fields are safetensors files."""

    job: str
    attempt: int
    token: int
    family_id: int
    spec: JobSpec
    model: Model
    """The resolved model: sizes filled in from the dataset."""
    anchor: str | None
    """What hidden axes are aligned with; None: they have no keys."""
    steps: int
    seed: int
    init_seed: int
    """Where the weights are drawn from, unless `base` is given."""
    split: Split
    base: bytes | None = None
    """Weights to begin with: a checkpoint's model state, or a start of the family."""
    fresh: tuple[str, ...] = ()
    """Tensors that are drawn although there is a base: it has another number of outputs."""
    warp: bytes | None = None
    warp_version: int | None = None
    resume_model: bytes | None = None
    resume_state: bytes | None = None
    workers: int = 1
    """How many train it together."""
    group: int = 0
    """Which of the attempt's groups of workers this is."""
    watermark: int = 0
    """Steps before this one are acknowledged by the meta-learner: they are not observed again."""
    package: bytes | None = None
    """The package of user code that makes the model; `model["package"]` is its sha256."""
    code_folder: str | None = None
    """Where it lies unpacked, in the one process that may import it."""
    confinement: Confinement = "required"
    """Whether a node that cannot confine user code may run it all the same."""
    max_axis: int = MAX_AXIS
    max_contribution_bytes: int = MAX_CONTRIBUTION_BYTES

    @property
    def contributes(self) -> bool:
        return self.spec.contributes

    @property
    def is_elastic(self) -> bool:
        """Whether the number of workers may change meanwhile."""
        return self.spec.resources.is_elastic

    @property
    def uses_own_data(self) -> bool:
        """Whether P is a basis made from the job's own data, before the first step."""
        return self.spec.optimizer.name == "warpadam" and self.spec.optimizer.warp == "data"

    @property
    def runs_code(self) -> bool:
        """Whether user code makes the model: then a process that has nothing else trains it (workers/code)."""
        return is_code(self.model)

    @property
    def context(self) -> int | None:
        """The context of a transformer; other models have none."""
        value = self.model.get("context")
        return value if isinstance(value, int) else None
