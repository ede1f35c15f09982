"""A model's sizes and a job's steps from its dataset, and what does not fit together."""

import math

from service.data.info import VOCABULARY, DatasetInfo
from service.errors import FieldError, Forbidden, InvalidRequest
from service.spec import MAX_STEPS, CodeModel, Convnet, JobSpec, Mlp, Transformer

DEFAULT_STEPS = 300
"""Where the description says neither steps nor epochs."""


def model_of(spec: JobSpec, info: DatasetInfo) -> dict[str, object]:
    """The resolved model (`warpadam.shapes`): the description with its input and output sizes.

    Raises Forbidden (`code_disabled`) for user code, InvalidRequest for a task that the dataset does not serve, and for
    a model that does not fit them.
    """
    model = spec.model
    if isinstance(model, CodeModel):
        raise Forbidden(
            "This server runs no uploaded code: use model.arch mlp, convnet or transformer.",
            param="model.entrypoint",
            code="code_disabled",
        )
    if problem := info.problem(spec.task):
        raise InvalidRequest(problem, param="task")
    if isinstance(model, Transformer) != (spec.task == "language_modeling"):
        raise InvalidRequest(
            f"{spec.task} and a {model.arch} do not go together: language_modeling needs model.arch transformer, "
            "and a transformer the task language_modeling.",
            param="model.arch",
        )
    return {**model.model_dump(mode="json"), **_sizes(model, spec, info)}


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
    if isinstance(spec.model, Transformer):
        rows = max(1, (info.train - 1) // spec.model.context)
    return math.ceil(training.epochs * rows / training.batch_size)


def check_training(spec: JobSpec, info: DatasetInfo) -> None:
    """Raises one InvalidRequest for all that the training part and the batches do not allow."""
    training, errors = spec.training, list[FieldError]()
    rows, unit = info.train, "rows"
    if isinstance(spec.model, Transformer):
        rows, unit = info.train - spec.model.context, f"windows of {spec.model.context} + 1 bytes"
    if rows < 1:
        message = f"the training part has {info.train} bytes, fewer than one window: use more text or a smaller context"
        errors.append(FieldError("model.context", "invalid_request", message))
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
