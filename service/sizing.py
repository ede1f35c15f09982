"""A model's sizes and a job's steps from its dataset, and what does not fit together."""

import math

from service.data.info import VOCABULARY, DatasetInfo
from service.errors import FieldError, InvalidRequest
from service.hub import models as hub_models
from service.spec import MAX_STEPS, JobSpec
from service.spec_models import CodeModel, Convnet, Mlp, Transformer, TransformersModel

_CONTEXT = {False: "model.context", True: "model.kwargs.context"}
DEFAULT_STEPS = 300
"""Where the description says neither steps nor epochs."""


def model_of(spec: JobSpec, info: DatasetInfo, code: str | None = None) -> dict[str, object]:
    """The resolved model (`warpadam.shapes`): the description with its input and output sizes.

    `code` is the sha256 of a code model's package. Raises InvalidRequest for a task that the dataset does not serve,
    and for a model that does not fit them.
    """
    model = spec.model
    if problem := info.problem(spec.task):
        raise InvalidRequest(problem, param="task")
    if isinstance(model, CodeModel):
        return {"entrypoint": model.entrypoint, "package": code, "kwargs": model.kwargs, **_given(model, spec, info)}
    if isinstance(model, TransformersModel):
        return hub_models.resolved(model, spec, info)
    if isinstance(model, Transformer) != (spec.task == "language_modeling"):
        raise InvalidRequest(
            f"{spec.task} and a {model.arch} do not go together: language_modeling needs model.arch transformer, "
            "and a transformer the task language_modeling.",
            param="model.arch",
        )
    return {**model.model_dump(mode="json"), **_sizes(model, spec, info)}


def _given(model: CodeModel, spec: JobSpec, info: DatasetInfo) -> dict[str, object]:
    """What user code is told of the data."""
    if spec.task != "language_modeling":
        return {"input": list(info.input.shape), "output": info.outputs(spec.task)}
    if model.context is None:
        raise InvalidRequest(
            "language_modeling needs the length of a window: give model.kwargs.context, from 2 to 65536; your function "
            "gets it too.",
            param="model.kwargs.context",
        )
    return {"vocabulary": VOCABULARY, "context": model.context}


def context_of(spec: JobSpec) -> int | None:
    """The length of a window, where the task is on text."""
    if spec.task != "language_modeling" or not isinstance(spec.model, Transformer | TransformersModel | CodeModel):
        return None
    return spec.model.context


def _sizes(model: Mlp | Convnet | Transformer, spec: JobSpec, info: DatasetInfo) -> dict[str, object]:
    shape = list(info.input.shape)
    if isinstance(model, Transformer):
        return {"vocabulary": VOCABULARY}
    if isinstance(model, Mlp):
        return {"input": math.prod(shape), "output": info.outputs(spec.task)}
    if len(shape) != 3:
        raise InvalidRequest(
            f"A convnet needs images (height, width, channels), and the inputs of this dataset have the shape {shape}: "
            "use model.arch mlp.",
            param="model.arch",
        )
    return {"input": shape, "output": info.outputs(spec.task)}


def steps_of(spec: JobSpec, info: DatasetInfo) -> int:
    """The job's steps; an epoch passes over every training row once, text over every window of `context` bytes."""
    training = spec.training
    if training.epochs is None:
        return training.steps or DEFAULT_STEPS
    rows = info.train
    context = context_of(spec)
    if context is not None:
        rows = max(1, (info.train - 1) // context)
    return math.ceil(training.epochs * rows / training.batch_size)


def examples(info: DatasetInfo, context: int | None) -> int:
    """How many the training part has: rows, or windows of `context` that begin at each byte of a text; below 1: none
    at all."""
    return info.train if context is None else info.train - context


def check_training(spec: JobSpec, info: DatasetInfo) -> None:
    """Raises one InvalidRequest for all that the training part and the batches do not allow."""
    training, errors = spec.training, list[FieldError]()
    context = context_of(spec)
    rows, unit = examples(info, context), "rows"
    if context is not None:
        unit = f"windows of {context} + 1 bytes"
    if rows < 1:
        message = f"the training part has {info.train} bytes, fewer than one window: use more text or a smaller context"
        errors.append(FieldError(_CONTEXT[isinstance(spec.model, CodeModel)], "invalid_request", message))
    elif training.batch_size > rows:
        message = f"{training.batch_size} is more than the {rows} {unit} that the training part has"
        errors.append(FieldError("training.batch_size", "invalid_request", message))
    if training.batch_size < spec.resources.max_workers:
        message = f"{training.batch_size} is less than one for each of the {spec.resources.max_workers} workers"
        errors.append(FieldError("training.batch_size", "invalid_request", message))
    steps = steps_of(spec, info)
    if steps > MAX_STEPS:
        message = f"{training.epochs} epochs are {steps} steps, more than {MAX_STEPS}: use fewer, or larger batches"
        errors.append(FieldError("training.epochs", "invalid_request", message))
    if training.warmup_steps > steps:
        message = f"{training.warmup_steps} is more than the {steps} steps of the job"
        errors.append(FieldError("training.warmup_steps", "invalid_request", message))
    if errors:
        raise InvalidRequest.of(errors)
