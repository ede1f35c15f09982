"""The OpenAPI document: what FastAPI finds, and what it cannot know: errors, headers, examples.

`python -m api.openapi` prints it; docs/openapi.json is that, committed, so that a change of the API is seen in review.
"""

import json
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from fastapi import FastAPI
from fastapi.openapi.utils import get_openapi

from api.problems import KINDS, MARK, Json, headers, ref, title
from api.schemas.common import Problem, sendable

DESCRIPTION = """Train with a learned gradient map.

Errors are `application/problem+json`, and `code` says which it is. Lists are pages: pass `next_cursor` as `after`.
Every POST takes an `Idempotency-Key`. Clients ignore fields that they do not know; the service refuses them."""

TAGS = {
    "jobs": "Submit, steer and watch them; what they leave.",
    "checkpoints": "Weights of one's own, to start from.",
    "datasets": "What jobs train on.",
    "families": "Jobs over related data that share one P; its aliases and its ledger.",
    "warps": "The versions of a family's P.",
    "starts": "The weights that a family hands out.",
    "keys": "Who may do what, and who did.",
    "webhooks": "Who is told of events.",
    "system": "The service about itself.",
}

LIMITS = frozenset({"minimum", "maximum", "exclusiveMinimum", "exclusiveMaximum"})
_REQUEST_ID = {"X-Request-Id": {"$ref": "#/components/headers/X-Request-Id"}}
_RETRY_AFTER = {"Retry-After": {"$ref": "#/components/headers/Retry-After"}}
_RATE = {name: {"$ref": f"#/components/headers/{name}"} for name in ("RateLimit", "RateLimit-Policy")}


def _header(description: str, pattern: str = "", **more: Any) -> Json:
    schema = {"type": "string", "pattern": pattern} if pattern else {"type": "string"}
    return {"description": description, "schema": schema, **more}


HEADERS: dict[str, Json] = {
    "X-Request-Id": _header("The client's own, or one that was made.", "^[A-Za-z0-9_.:-]{1,64}$", required=True),
    "Retry-After": _header("Seconds to wait.", "^[0-9]+$", required=True),
    "RateLimit": _header("With a key: requests left, and seconds until there is one."),
    "RateLimit-Policy": _header("With a key: so many requests in so many seconds."),
    "Location": _header("Where it is.", "^/v1/", required=True),
    "Idempotent-Replayed": _header("The stored answer of the first request with this key.", "^true$"),
    "WWW-Authenticate": _header("How to prove who one is.", "^Bearer ", required=True),
    "Content-Range": _header("Which bytes of how many.", "^bytes ", required=True),
    "ETag": _header("Strong.", '^"[^"]+"$', required=True),
    "Repr-Digest": _header("sha256 of the whole file (RFC 9530).", "^sha-256=:", required=True),
}
"""Headers that answers carry; `required` means that this answer always has it."""

_WITH_CODE = {
    "no_key": ("WWW-Authenticate",),
    "bad_key": ("WWW-Authenticate",),
    "idempotency_in_flight": (),
    "rate_limited": ("Retry-After",),
    "quota_exceeded": ("Retry-After",),
    "unavailable": ("Retry-After",),
    "range_not_satisfiable": ("Content-Range",),
}


def document(app: FastAPI) -> Json:
    """The document of `app`, complete."""
    made: Json = get_openapi(title=app.title, version=app.version, description=DESCRIPTION, routes=app.routes)
    made["tags"] = [{"name": name, "description": text} for name, text in TAGS.items()]
    components: Json = made["components"]
    components["headers"] = HEADERS
    components["examples"] = {code: {"value": _example(code)} for code in KINDS}
    components["responses"] = {}
    whole = Problem.model_json_schema(ref_template="#/components/schemas/{model}")
    components["schemas"] |= {**whole.pop("$defs"), "Problem": whole}
    for schema in components["schemas"].values():
        if "example" in schema:
            schema["example"] = _with_nulls(schema["example"], schema, components["schemas"])
    for _, _, operation in operations(made):
        operation["summary"] = operation["operationId"].replace("_", " ").capitalize()
        for parameter in operation.get("parameters", ()):
            parameter["schema"] = sendable(parameter["schema"])
        _add_problems(operation, components["responses"])
        _complete_answers(operation, components["schemas"])
    for name in ("HTTPValidationError", "ValidationError"):  # FastAPI's own, which nothing here answers
        components["schemas"].pop(name, None)
    components["responses"] = dict(sorted(components["responses"].items()))
    return dict(_exact(made))


def _exact(value: Any) -> Any:
    """The same with limits as they were given: FastAPI writes 2**63 as 9.2e18, to which nobody could keep."""
    if isinstance(value, dict):
        return {name: _limit(each) if name in LIMITS else _exact(each) for name, each in value.items()}
    return [_exact(each) for each in value] if isinstance(value, list) else value


def _limit(value: Any) -> Any:
    return int(value) if isinstance(value, float) and value.is_integer() else value


def operations(made: Json) -> Iterator[tuple[str, str, Json]]:
    """(path, method, operation) of a document."""
    for path, methods in made["paths"].items():
        for method, operation in methods.items():
            yield path, method, operation


def _add_problems(operation: Json, shared: Json) -> None:
    """Replaces the codes that the route named, and adds those that any call of its kind can give."""
    answers: Json = operation["responses"]
    codes: dict[int, set[str]] = {}
    for status in [each for each in answers if MARK in answers[each]]:
        codes.setdefault(int(status), set()).update(answers.pop(status)[MARK])
    for code in _implied(operation):
        codes.setdefault(KINDS[code].status, set()).add(code)
    answers.pop("422", None)
    for number, found in sorted(codes.items()):
        if str(number) in answers:  # /readyz says in its own words what is away
            continue
        ordered = [code for code in KINDS if code in found]
        name = ".".join([str(number), *ordered])
        shared[name] = _problem(number, ordered)
        answers[str(number)] = ref("responses", name)


def _implied(operation: Json) -> Iterator[str]:
    yield from ("foreign_host", "foreign_origin", "invalid_request", "internal")
    parameters = {each["name"]: each["in"] for each in operation.get("parameters", ())}
    if operation.get("security"):
        yield from ("no_key", "bad_key", "missing_scope", "rate_limited", "unavailable")
    if "path" in parameters.values():
        yield "not_found"
    if "Idempotency-Key" in parameters:
        yield from ("idempotency_in_flight", "idempotency_mismatch")
    if "requestBody" in operation or "Idempotency-Key" in parameters:
        yield from ("too_large", "too_slow", "unsupported_media_type")
    if "requestBody" in operation and "application/json" in operation["requestBody"]["content"]:
        yield "malformed_json"


def _problem(status: int, codes: list[str]) -> Json:
    same = [set(_WITH_CODE.get(code, ())) for code in codes]
    always = sorted(set.intersection(*same))
    return {
        "description": f"{title(status)}: {', '.join(f'`{code}`' for code in codes)}.",
        "headers": _REQUEST_ID | headers(*always),
        "content": {
            "application/problem+json": {
                "schema": {
                    "allOf": [ref("schemas", "Problem")],
                    "properties": {"status": {"const": status}, "code": {"enum": codes}},
                },
                "examples": {code: ref("examples", code) for code in codes},
            }
        },
    }


def _example(code: str) -> Json:
    kind = KINDS[code]
    shown: Json = {
        "type": f"urn:warpadam:problem:{code}",
        "title": title(kind.status),
        "status": kind.status,
        "detail": kind.detail,
        "instance": "/v1/jobs",
        "code": code,
        "param": kind.param,
        "request_id": "req_01kq3v5n8w6y2d4f7h9k1m3p5r",
    }
    if code == "invalid_request":
        mistake = {"param": "optimizer.lr", "code": "greater_than", "message": "Input should be greater than 0"}
        shown["errors"] = [mistake]
    return shown


def _complete_answers(operation: Json, schemas: Json) -> None:
    """Headers and examples of what is no problem."""
    is_keyed = bool(operation.get("security"))
    is_post = any(each["name"] == "Idempotency-Key" for each in operation.get("parameters", ()))
    for status, answer in operation["responses"].items():
        if "$ref" in answer:
            continue
        told = answer.setdefault("headers", {})
        answer["headers"] = _REQUEST_ID | (_RATE if is_keyed else {}) | told
        if is_post and status.startswith("2"):
            answer["headers"] |= headers("Idempotent-Replayed")
        content = answer.get("content", {}).get("application/json")
        if content is not None and "example" not in content:
            content["example"] = example_of(content["schema"], schemas)


def example_of(schema: Json, schemas: Json) -> Any:
    """What the schema itself gives as its example, or one put together from those of its fields."""
    schema = _resolved(schema, schemas)
    if "example" in schema:
        return schema["example"]
    if "const" in schema or "default" in schema:
        return schema.get("const", schema.get("default"))
    if "properties" in schema:
        return {name: example_of(field, schemas) for name, field in schema["properties"].items()}
    if schema.get("type") == "array":
        return [example_of(schema["items"], schemas)]
    if {"type": "null"} in schema.get("anyOf", ()):
        return None
    raise LookupError(f"no example can be made of {schema}: give its model one")


def _with_nulls(value: Any, schema: Json, schemas: Json) -> Any:
    """The example with the nulls that FastAPI drops from all that it is given."""
    kinds = [_resolved(each, schemas) for each in schema.get("anyOf", [schema])]
    schema = next((each for each in kinds if "properties" in each), {})
    if not isinstance(value, dict) or not schema:
        return value
    full = {**dict.fromkeys(schema.get("required", ())), **value}
    order = [name for name in schema["properties"] if name in full]
    return {name: _with_nulls(full[name], schema["properties"][name], schemas) for name in order}


def _resolved(schema: Json, schemas: Json) -> Json:
    found: Json = schemas[schema["$ref"].rpartition("/")[2]] if "$ref" in schema else schema
    return found


def main() -> None:
    from api.app import create_app
    from service.settings import Settings

    with tempfile.TemporaryDirectory() as folder:
        made = create_app(Settings(data_dir=Path(folder))).openapi()
    sys.stdout.write(text(made))


def text(made: Json) -> str:
    """As it is committed."""
    return json.dumps(made, indent=1, ensure_ascii=False) + "\n"


if __name__ == "__main__":
    main()
