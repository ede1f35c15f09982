"""Every code that a problem can have: its status, when it comes, and an example of it.

A route names those of its own (`responses=problems("in_use")`); what any call of its kind can give, such as `no_key`,
is added where the OpenAPI document is made (api/openapi.py). `api/errors.py` is what really maps errors to answers;
tests compare the two.
"""

from dataclasses import dataclass
from http import HTTPStatus
from typing import Any

Json = dict[str, Any]

MARK = "x-codes"
"""Key of a response under which `problems` notes its codes until the document is made."""


_TITLES = {413: "Content Too Large", 416: "Range Not Satisfiable", 422: "Unprocessable Content"}
"""RFC 9110's words, where Python's versions differ."""


def title(status: int) -> str:
    return _TITLES.get(status) or HTTPStatus(status).phrase


@dataclass(frozen=True)
class Kind:
    status: int
    detail: str
    param: str | None = None


KINDS: dict[str, Kind] = {
    "malformed_json": Kind(400, "The body is not valid JSON: Expecting value at character 12."),
    "no_key": Kind(401, "This service wants a key: send it as Authorization: Bearer wa_…."),
    "bad_key": Kind(401, "This key is unknown, was revoked, or has expired."),
    "missing_scope": Kind(403, "The key lacks the scope jobs:write.", "jobs:write"),
    "foreign_host": Kind(403, "This service answers to localhost, 127.0.0.1 and [::1] only."),
    "foreign_origin": Kind(403, "Requests from other web pages are refused."),
    "code_disabled": Kind(403, "This server runs no user code.", "model.entrypoint"),
    "not_found": Kind(404, "There is nothing of yours under this name."),
    "method_not_allowed": Kind(405, "This path does not take this method; the Allow header names those it takes."),
    "too_slow": Kind(408, "Nothing of the body came for 30 s: send it again."),
    "invalid_state": Kind(409, "What is there does not allow this at present; see its state."),
    "in_use": Kind(409, "Something that has not ended needs it, or has its name."),
    "dataset_not_ready": Kind(409, "Dataset ds_01kq3v5n8w6y2d4f7h9k1m3p5r is inspecting: wait until it is ready."),
    "idempotency_in_flight": Kind(409, "The first request with this Idempotency-Key is still being executed."),
    "collected": Kind(410, "Retention removed the file of this version; the version itself stays."),
    "etag_mismatch": Kind(412, "The alias points to another version than If-Match names: read it again."),
    "too_large": Kind(413, "The body is larger than the server accepts."),
    "unsupported_media_type": Kind(415, "Send JSON with Content-Type: application/json."),
    "range_not_satisfiable": Kind(416, "The range lies outside the file; Content-Range tells its size."),
    "invalid_request": Kind(422, "optimizer.lr: Input should be greater than 0", "optimizer.lr"),
    "unsupported": Kind(422, "task: this dataset has no classes", "task"),
    "dataset_not_found": Kind(422, "There is no dataset ds_01kq3v5n8w6y2d4f7h9k1m3p5r.", "dataset.id"),
    "family_not_found": Kind(422, "There is no family patches.", "families"),
    "warp_not_found": Kind(422, "Family patches has no version 9: list its warps.", "version"),
    "checkpoint_not_found": Kind(422, "There is no checkpoint ckpt_01kq3v5n8w6y2d4f7h9k1m3p5r.", "init.checkpoint"),
    "digest_mismatch": Kind(422, "What arrived has another sha256 than was announced: send it again.", "sha256"),
    "idempotency_mismatch": Kind(422, "This Idempotency-Key was used with another request."),
    "rate_limited": Kind(429, "Too many requests; try again in 1 s."),
    "quota_exceeded": Kind(429, "The project has all the storage that it may: delete something first."),
    "internal": Kind(500, "Something went wrong on the server; its log has the details under this request_id."),
    "unavailable": Kind(503, "The database does not answer at present; try again in a moment."),
    "storage_full": Kind(507, "The server's storage has no room left."),
}


def ref(kind: str, name: str) -> Json:
    return {"$ref": f"#/components/{kind}/{name}"}


def headers(*names: str) -> Json:
    """`headers` of an answer; api/openapi.py says what each is."""
    return {name: ref("headers", name) for name in names}


MADE: Json = {"headers": headers("Location")}
"""A 201 that says where the new thing is."""
UPLOAD = ("digest_mismatch", "quota_exceeded", "storage_full")
"""What every upload can meet."""


def problems(*codes: str) -> dict[int | str, Json]:
    """`responses` of a route: its own problems, by their codes."""
    found: dict[int | str, Json] = {}
    for code in codes:
        found.setdefault(KINDS[code].status, {}).setdefault(MARK, []).append(code)
    return found


def header_parameter(name: str, description: str) -> Json:
    """A header that a route reads by itself, as one of its `parameters`."""
    return {"name": name, "in": "header", "required": False, "description": description, "schema": {"type": "string"}}
