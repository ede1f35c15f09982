"""Models in a job's description: ours, those of transformers, and what user code makes."""

import json
from typing import Annotated, Any, Literal

from pydantic import Discriminator, Field, Tag, field_validator, model_validator

from service.spec_parts import Int, Part, Positive, Width

ENTRYPOINT_PATTERN = r"^[A-Za-z_]\w*(\.[A-Za-z_]\w*)*:[A-Za-z_]\w*$"
REPOSITORY_PATTERN = r"^[A-Za-z0-9][A-Za-z0-9._-]{0,95}(/[A-Za-z0-9][A-Za-z0-9._-]{0,95})?$"
KEYWORD_PATTERN = r"^[A-Za-z_]\w*$"
MAX_KWARGS = 65_536
GIVEN_BY_US = frozenset({"input_shape", "outputs"})
"""What the function of a code model gets from the service (workers/code/build.py)."""


class Mlp(Part):
    arch: Literal["mlp"]
    hidden: Annotated[list[Width], Field(max_length=64)]
    activation: Literal["relu", "gelu", "tanh"] = "relu"


class Convnet(Part):
    arch: Literal["convnet"]
    channels: Annotated[list[Width], Field(min_length=1, max_length=64)]
    kernel: Annotated[Int, Field(ge=1, le=15)] = 3

    @model_validator(mode="after")
    def _odd_kernel(self) -> "Convnet":
        if self.kernel % 2 == 0:
            raise ValueError("kernel must be odd, so that the map keeps its size")
        return self


class Transformer(Part):
    arch: Literal["transformer"]
    layers: Annotated[Int, Field(ge=1, le=256)]
    width: Width
    heads: Positive
    context: Annotated[Int, Field(ge=2, le=65_536)]

    @model_validator(mode="after")
    def _heads_divide_width(self) -> "Transformer":
        if self.width % self.heads:
            raise ValueError(f"width {self.width} is not divisible by heads {self.heads}")
        return self


def plain_json(name: str, value: dict[str, Any]) -> dict[str, Any]:
    """What JSON can say, bounded: it is stored, shown and hashed."""
    try:
        text = json.dumps(value, allow_nan=False)
    except (TypeError, ValueError, RecursionError) as error:
        raise ValueError(f"{name} must be plain JSON, numbers finite: {error}") from error
    if len(text) > MAX_KWARGS:
        raise ValueError(f"{name} has {len(text)} characters as JSON; at most {MAX_KWARGS} are accepted")
    plain: dict[str, Any] = json.loads(text)
    return plain


class TransformersModel(Part):
    """A model of the library transformers: its configuration, by the name of a repository of the hub or given here."""

    kind: Literal["transformers"]
    name: Annotated[str, Field(pattern=REPOSITORY_PATTERN)] | None = None
    """Repository whose `config.json` describes the model. Its weights are `init: {checkpoint: "hf://<name>"}`."""
    revision: Annotated[str, Field(max_length=200)] | None = None
    """Of `name`: a branch, tag or commit; it becomes the commit at submit."""
    config: dict[str, Any] = Field(default={})
    """What the configuration says, or says otherwise than `name`'s; `model_type` where there is no name."""
    context: Annotated[Int, Field(ge=2, le=65_536)] | None = None
    """Length of the windows, where the task is language_modeling."""

    @field_validator("config")
    @classmethod
    def _plain(cls, config: dict[str, Any]) -> dict[str, Any]:
        return plain_json("config", config)

    @model_validator(mode="after")
    def _describes_one(self) -> "TransformersModel":
        if self.name is None and not isinstance(self.config.get("model_type"), str):
            raise ValueError("give name, a repository of the hub, or config with model_type")
        if self.revision is not None and self.name is None:
            raise ValueError("revision goes with name")
        return self


class CodeModel(Part):
    """A function of an uploaded package, which makes the model (docs/code.md)."""

    entrypoint: Annotated[str, Field(pattern=ENTRYPOINT_PATTERN, max_length=300)]
    package: Annotated[str, Field(max_length=64)]
    """Id of a dataset of the format `package`."""
    kwargs: Annotated[
        dict[Annotated[str, Field(pattern=KEYWORD_PATTERN, max_length=100)], Any],
        Field(max_length=100, json_schema_extra={"additionalProperties": False}),
    ] = Field(default={})
    """Passed to the function. `context` is the length of the windows where the task is language_modeling."""

    @field_validator("kwargs")
    @classmethod
    def _plain(cls, kwargs: dict[str, Any]) -> dict[str, Any]:
        plain = plain_json("kwargs", kwargs)
        if taken := sorted(GIVEN_BY_US & plain.keys()):
            raise ValueError(f"{taken[0]} comes from the dataset: leave it out of kwargs")
        return plain

    @property
    def context(self) -> int | None:
        """The length of a window of text, where kwargs give a usable one."""
        value = self.kwargs.get("context")
        return value if isinstance(value, int) and not isinstance(value, bool) and 2 <= value <= 65_536 else None


BuiltinModel = Mlp | Convnet | Transformer


def _model_kind(value: Any) -> str | None:
    """Which model a description means; None makes pydantic say which ones there are."""
    fields = value if isinstance(value, dict) else getattr(value, "__dict__", {})
    if fields.get("kind") is not None:
        return str(fields["kind"])
    return "code" if fields.get("entrypoint") is not None else fields.get("arch")


Model = Annotated[
    Annotated[Mlp, Tag("mlp")]
    | Annotated[Convnet, Tag("convnet")]
    | Annotated[Transformer, Tag("transformer")]
    | Annotated[TransformersModel, Tag("transformers")]
    | Annotated[CodeModel, Tag("code")],
    Discriminator(
        _model_kind,
        custom_error_type="unknown_model",
        custom_error_message="arch must be mlp, convnet or transformer; or give kind: transformers, or entrypoint and "
        "package",
    ),
]
