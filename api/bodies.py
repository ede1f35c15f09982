"""Bodies that a route reads by itself, because they may come in more than one media type."""

import json
from collections.abc import Mapping
from typing import Any, TypeVar

from fastapi import Request
from pydantic import BaseModel, ValidationError

from api.errors import HttpError
from api.uploads import chunks
from api.validation import field_errors
from service.errors import InvalidRequest

M = TypeVar("M", bound=BaseModel)


def read_json(request: Request, model: type[M]) -> M:
    """The JSON body as `model`; call it from a plain endpoint's thread. Raises HttpError 400 and InvalidRequest."""
    try:
        body = json.loads(b"".join(chunks(request)))
    except (ValueError, RecursionError) as error:
        raise HttpError(400, f"The body is not valid JSON: {error}") from error
    return validate(model, body)


def validate(model: type[M], body: Mapping[str, Any], *, strict: bool | None = None) -> M:
    """Raises InvalidRequest with dotted paths. `strict=False` for the fields of a form: there numbers are text."""
    try:
        return model.model_validate(body, strict=strict)
    except ValidationError as error:
        found = [{**item, "loc": ("body", *item["loc"])} for item in error.errors(include_url=False)]
        raise InvalidRequest.of(field_errors(found, body)) from error
