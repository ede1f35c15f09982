"""What every part of a job's description is made of: its numbers, and a mapping that refuses what it does not know."""

from typing import Annotated, Any

from pydantic import BaseModel, ConfigDict, Field, model_validator

Int = Annotated[int, Field(strict=True)]
Number = Annotated[float, Field(strict=True)]
Bool = Annotated[bool, Field(strict=True)]
"""As JSON has them: no "7", no 1 for true. A form, which has only text, is read with `strict=False`."""
Positive = Annotated[Int, Field(ge=1)]
NonNegative = Annotated[Int, Field(ge=0)]
Width = Annotated[Int, Field(ge=1, le=65_536)]


def _whole(value: object) -> object:
    if isinstance(value, list):
        return [_whole(each) for each in value]
    return int(value) if isinstance(value, float) and value.is_integer() else value


class FromJson(BaseModel):
    """A mapping from JSON, to which 300.0 is the integer 300."""

    @model_validator(mode="before")
    @classmethod
    def _whole_numbers(cls, value: Any) -> Any:
        return {name: _whole(each) for name, each in value.items()} if isinstance(value, dict) else value


class Part(FromJson):
    """A frozen part of the description; refuses unknown fields, and NaN or infinity anywhere."""

    model_config = ConfigDict(extra="forbid", frozen=True, allow_inf_nan=False)
