"""What can go wrong in an attempt, and whose it is to mend.

TrainingError                known causes; carry category, code and a message that says what to do
├── NotFiniteError           the loss or the gradients left the numbers: training diverged
├── BadInputError            the data, weights or P do not fit the job
├── CodeDisabledError        the job has code of its own, which is not allowed any more
├── WorkersLostError         workers died or could not start
└── NotPlacedError           there was no place for the workers where one was expected

Everything else is judged by `classify`: errors that the job's own description causes are the user's and are not tried
again; the rest is the infrastructure's and is.
"""

import re
from dataclasses import dataclass
from typing import Literal

Category = Literal["user", "infrastructure", "preemption"]


@dataclass(frozen=True)
class Cause:
    """Why an attempt failed, as the service records it."""

    category: Category
    code: str
    message: str

    @property
    def retryable(self) -> bool:
        return self.category != "user"


class TrainingError(Exception):
    """A failure whose cause is known. It can be pickled: it crosses from workers to the runner."""

    code = "training_failed"
    category: Category = "user"

    @property
    def cause(self) -> Cause:
        return Cause(self.category, self.code, str(self))


class NotFiniteError(TrainingError):
    code = "not_finite"


class BadInputError(TrainingError):
    code = "bad_input"


class CodeDisabledError(TrainingError):
    code = "code_disabled"


class WorkersLostError(TrainingError):
    """Workers died or could not start; what they said themselves, if anything, goes before it."""

    code = "worker_failed"
    category = "infrastructure"


class NotPlacedError(TrainingError):
    code = "not_placed"
    category = "infrastructure"


OUT_OF_MEMORY = (
    "The job ran out of memory: lower training.batch_size, use a smaller model, or give it more workers "
    "(resources.workers splits the batch)."
)


def classify(error: BaseException) -> Cause:
    """The cause behind an error of the training loop or of what prepares it."""
    if isinstance(error, TrainingError):
        return error.cause
    if isinstance(error, MemoryError) or _is_torch_memory(error):
        return Cause("user", "out_of_memory", OUT_OF_MEMORY)
    if isinstance(error, ValueError | TypeError | IndexError) or _is_torch_refusal(error):
        return Cause("user", "bad_input", f"The job cannot be trained as described: {_first_line(error)}")
    if is_lost_peer(error):
        return Cause("infrastructure", "worker_failed", "A worker of the group was lost: the others could not go on.")
    return Cause("infrastructure", "worker_failed", f"{type(error).__name__}: {_first_line(error)}")


def _is_torch_memory(error: BaseException) -> bool:
    """torch.OutOfMemoryError on a GPU; on the CPU a RuntimeError of its allocator."""
    return isinstance(error, RuntimeError) and (
        type(error).__name__ == "OutOfMemoryError" or "DefaultCPUAllocator" in str(error)
    )


def _is_torch_refusal(error: BaseException) -> bool:
    """torch tells of tensors that do not fit each other, and of numbers beyond float32, by a plain RuntimeError."""
    return isinstance(error, RuntimeError) and bool(
        re.search(r"\bshapes?\b|\bsizes? of tensor|size mismatch|without overflow", str(error))
    )


def is_lost_peer(error: BaseException) -> bool:
    """What gloo and NCCL raise in those that are left when one of a group has died."""
    return isinstance(error, RuntimeError) and bool(re.search(r"gloo|nccl|by peer", str(error), re.IGNORECASE))


def _first_line(error: BaseException) -> str:
    return (str(error).strip().splitlines() or [type(error).__name__])[0][:500]
