"""What all answers share: times, lists, problems."""

from datetime import UTC, datetime
from functools import lru_cache
from typing import Annotated, Any, Generic, Literal, TypeVar

from fastapi import Response
from pydantic import BaseModel, ConfigDict, PlainSerializer, WithJsonSchema

from service.pages import Page

T = TypeVar("T")
Row = TypeVar("Row")
Json = dict[str, Any]


def rfc3339(time: datetime) -> str:
    """UTC with milliseconds: `2026-01-31T12:00:00.000Z`."""
    utc = time if time.tzinfo is UTC else time.astimezone(UTC)
    return f"{utc.isoformat(timespec='milliseconds')[:-6]}Z"


def rfc3339_of(milliseconds: int) -> str:
    """The same of a time as the database has it."""
    seconds, rest = divmod(milliseconds, 1000)
    return f"{_seconds(seconds)}.{rest:03d}Z"


@lru_cache(maxsize=65_536)
def _seconds(since_1970: int) -> str:
    """Cached, because what is shown together happened together."""
    return datetime.fromtimestamp(since_1970, UTC).isoformat()[:-6]


Time = Annotated[
    datetime,
    PlainSerializer(rfc3339, return_type=str),
    WithJsonSchema({"type": "string", "format": "date-time", "examples": ["2026-01-31T12:00:00.000Z"]}),
]


def shown(example: Json) -> ConfigDict:
    """`model_config` of a model with this example."""
    return ConfigDict(json_schema_extra={"example": example})


def sendable(schema: Json) -> Json:
    """The schema of a parameter or a form's field without null, which neither can say: it is left out instead."""
    if "anyOf" not in schema:
        return schema
    (kind,) = (each for each in schema["anyOf"] if each != {"type": "null"})
    return {**kind, **{name: value for name, value in schema.items() if name != "anyOf"}}


class Answer(BaseModel):
    """A frozen answer."""

    model_config = ConfigDict(frozen=True)


def answer(made: BaseModel | str | bytes) -> Response:
    """A 200 with this model, or with JSON that is one, written once: FastAPI would check it again, and in a thread."""
    text = made.model_dump_json() if isinstance(made, BaseModel) else made
    return Response(text, media_type="application/json")


class Listing(Answer, Generic[T]):
    object: Literal["list"] = "list"
    data: list[T]
    has_more: bool = False
    next_cursor: str | None = None

    @classmethod
    def of_page(cls, page: Page[Any], items: list[T]) -> "Listing[T]":
        return cls(data=items, has_more=page.has_more, next_cursor=page.next_cursor)


class Deleted(Answer):
    """What a DELETE answers."""

    model_config = shown({"id": "job_01kq3v5n8w6y2d4f7h9k1m3p5r", "object": "deleted", "deleted": True})

    id: str
    object: Literal["deleted"] = "deleted"
    deleted: Literal[True] = True


class FieldProblem(Answer):
    param: str
    code: str
    message: str


class Problem(Answer):
    """RFC 9457, `application/problem+json`."""

    model_config = ConfigDict(
        json_schema_extra={
            "example": {
                "type": "urn:warpadam:problem:invalid_request",
                "title": "Unprocessable Content",
                "status": 422,
                "detail": "optimizer.lr: Input should be greater than 0",
                "instance": "/v1/jobs",
                "code": "invalid_request",
                "param": "optimizer.lr",
                "request_id": "req_01kq3v5n8w6y2d4f7h9k1m3p5r",
                "errors": [
                    {"param": "optimizer.lr", "code": "greater_than", "message": "Input should be greater than 0"}
                ],
            }
        }
    )

    type: str
    title: str
    status: int
    detail: str
    instance: str
    code: str
    param: str | None
    request_id: str | None
    errors: list[FieldProblem] = []
