"""The one map from errors to HTTP: every answer that is not a success is an RFC 9457 problem, and none holds a trace.

`STATUS` names every class of the service's error tree (a test compares them), so a new error cannot leave unmapped.
Whatever is no ServiceError is translated into one here: the framework's own errors, validation, a database that is
away, a full disk. What remains is a defect: 500 with a request id to look up in the server's log.
"""

import errno
from collections.abc import Mapping
from http import HTTPStatus
from typing import Any

from fastapi import FastAPI, Request
from fastapi.exceptions import RequestValidationError
from fastapi.responses import JSONResponse
from sqlalchemy import exc as sql
from starlette.exceptions import HTTPException
from starlette.responses import Response
from starlette.routing import Match

from api.problems import title
from api.validation import field_errors
from service import errors

STATUS: dict[type[errors.ServiceError], HTTPStatus] = {
    errors.InvalidRequest: HTTPStatus.UNPROCESSABLE_ENTITY,
    errors.BadReference: HTTPStatus.UNPROCESSABLE_ENTITY,
    errors.NotFound: HTTPStatus.NOT_FOUND,
    errors.Collected: HTTPStatus.GONE,
    errors.Conflict: HTTPStatus.CONFLICT,
    errors.InvalidState: HTTPStatus.CONFLICT,
    errors.InUse: HTTPStatus.CONFLICT,
    errors.DatasetNotReady: HTTPStatus.CONFLICT,
    errors.IdempotencyInFlight: HTTPStatus.CONFLICT,
    errors.IdempotencyMismatch: HTTPStatus.UNPROCESSABLE_ENTITY,
    errors.EtagMismatch: HTTPStatus.PRECONDITION_FAILED,
    errors.Unauthenticated: HTTPStatus.UNAUTHORIZED,
    errors.Forbidden: HTTPStatus.FORBIDDEN,
    errors.Limited: HTTPStatus.TOO_MANY_REQUESTS,
    errors.RateLimited: HTTPStatus.TOO_MANY_REQUESTS,
    errors.QuotaExceeded: HTTPStatus.TOO_MANY_REQUESTS,
    errors.TooLarge: HTTPStatus.REQUEST_ENTITY_TOO_LARGE,
    errors.StorageFull: HTTPStatus.INSUFFICIENT_STORAGE,
    errors.Unavailable: HTTPStatus.SERVICE_UNAVAILABLE,
}

METHODS = ("GET", "HEAD", "POST", "PUT", "PATCH", "DELETE")
UNAVAILABLE_S, IN_FLIGHT_S = 2, 1
"""Retry-After of 503, and of a POST whose first sending still runs."""

# What the framework answers by itself: status → (code, detail).
_FRAMEWORK: dict[int, tuple[str, str]] = {
    400: ("malformed_json", "The body is not valid JSON."),
    404: ("not_found", "There is nothing at this path; /docs lists the ones there are."),
    405: ("method_not_allowed", "This path does not take this method; the Allow header names those it takes."),
    408: ("too_slow", "The body comes too slowly: send it again."),
    413: ("too_large", "The body is larger than the server accepts."),
    415: ("unsupported_media_type", "Send JSON with Content-Type: application/json."),
    416: ("range_not_satisfiable", "The range lies outside the file; Content-Range tells its size."),
}


class HttpError(HTTPException):
    """A mistake of HTTP itself (media type, range, size), raised at the edge only."""

    def __init__(self, status: int, detail: str = "", *, headers: Mapping[str, str] | None = None) -> None:
        super().__init__(status, detail or _FRAMEWORK[status][1], headers=headers)


def problem(
    scope: Mapping[str, Any],
    status: int,
    code: str,
    detail: str,
    *,
    param: str | None = None,
    fields: tuple[errors.FieldError, ...] = (),
    headers: Mapping[str, str] | None = None,
) -> Response:
    """One problem+json answer to the request of this ASGI `scope`."""
    request_id = scope.get("state", {}).get("request_id")
    body: dict[str, Any] = {
        "type": f"urn:warpadam:problem:{code}",
        "title": title(status),
        "status": status,
        "detail": detail,
        "instance": scope.get("path", ""),
        "code": code,
        "param": param,
        "request_id": request_id,
    }
    if fields:
        body["errors"] = [{"param": f.param, "code": f.code, "message": f.message} for f in fields]
    extra = dict(headers or {})
    if status == HTTPStatus.SERVICE_UNAVAILABLE:
        extra.setdefault("Retry-After", str(UNAVAILABLE_S))
    if request_id:
        extra["X-Request-Id"] = request_id
    return JSONResponse(body, status, headers=extra, media_type="application/problem+json")


def answer(scope: Mapping[str, Any], error: errors.ServiceError) -> Response:
    """The answer to an error of the service."""
    fields = error.errors if isinstance(error, errors.InvalidRequest) else ()
    status, code, headers = STATUS[type(error)], error.error_code, _headers(error)
    return problem(scope, status, code, error.detail, param=error.param, fields=fields, headers=headers)


def _headers(error: errors.ServiceError) -> dict[str, str]:
    """What goes with an error: when to try again, how to prove who one is (RFC 6750, section 3)."""
    if isinstance(error, errors.Limited):
        return {"Retry-After": str(error.retry_after_s)}
    if isinstance(error, errors.IdempotencyInFlight):
        return {"Retry-After": str(IN_FLIGHT_S)}
    if isinstance(error, errors.Unauthenticated):
        wrong = "" if error.error_code == "no_key" else ', error="invalid_token"'
        return {"WWW-Authenticate": f'Bearer realm="warpadam"{wrong}'}
    if isinstance(error, errors.Forbidden) and error.error_code == "missing_scope":
        return {"WWW-Authenticate": f'Bearer realm="warpadam", error="insufficient_scope", scope="{error.param}"'}
    return {}


def install(app: FastAPI) -> None:
    """Makes `app` answer every error by this module."""
    app.add_exception_handler(errors.ServiceError, _service)
    app.add_exception_handler(RequestValidationError, _validation)
    app.add_exception_handler(HTTPException, _framework)
    app.add_exception_handler(Exception, _unexpected)
    for kind in (sql.SQLAlchemyError, OSError, OverflowError):
        app.add_exception_handler(kind, _environment)


def _service(request: Request, error: Exception) -> Response:
    assert isinstance(error, errors.ServiceError)
    return answer(request.scope, error)


def _validation(request: Request, error: Exception) -> Response:
    assert isinstance(error, RequestValidationError)
    if any(item["type"] == "json_invalid" for item in error.errors()):
        item = error.errors()[0]
        detail = f"The body is not valid JSON: {item['ctx']['error']} at character {item['loc'][-1]}."
        return problem(request.scope, 400, "malformed_json", detail)
    return answer(request.scope, errors.InvalidRequest.of(field_errors(error.errors(), error.body)))


def _framework(request: Request, error: Exception) -> Response:
    assert isinstance(error, HTTPException)
    code, detail = _FRAMEWORK.get(error.status_code, ("http_error", str(error.detail)))
    if isinstance(error, HttpError):
        detail = error.detail
    headers = {"Allow": _allowed(request)} if error.status_code == 405 else error.headers
    return problem(request.scope, error.status_code, code, detail, headers=headers)


def _allowed(request: Request) -> str:
    """The methods that this path takes, of all its routes; the framework names those of the first."""

    def takes(method: str) -> bool:
        scope = {**request.scope, "method": method}
        return any(route.matches(scope)[0] is Match.FULL for route in request.app.routes)

    return ", ".join(method for method in METHODS if takes(method))


def _environment(request: Request, error: Exception) -> Response:
    """Errors of the database and the system that have an answer; the others are defects."""
    known = translate(error)
    return answer(request.scope, known) if known else _unexpected(request, error, reraise=True)


def known(error: Exception) -> errors.ServiceError | None:
    """What middleware answers, which stands outside of the app's handlers; None: it is a defect."""
    return error if isinstance(error, errors.ServiceError) else translate(error)


def translate(error: Exception) -> errors.ServiceError | None:
    """What an error of the database or the system means to a user; None: it is a defect."""
    if isinstance(error, OSError):
        full = error.errno in (errno.ENOSPC, errno.EDQUOT)
        return errors.StorageFull("The server's storage has no room left.") if full else None
    if isinstance(error, sql.DataError | OverflowError):
        return errors.InvalidRequest("A value is outside the range that can be stored.")
    if isinstance(error, sql.OperationalError) and "disk is full" in str(error.orig):
        return errors.StorageFull("The server's database has no room left.")
    if isinstance(error, sql.OperationalError | sql.InterfaceError | sql.TimeoutError):
        return errors.Unavailable("The database does not answer at present; try again in a moment.")
    return None


def _unexpected(request: Request, error: Exception, *, reraise: bool = False) -> Response:
    """Starlette logs and re-raises what reaches its outermost handler; from an inner one it is raised on to there."""
    if reraise:
        raise error
    detail = "Something went wrong on the server; its log has the details under this request_id."
    return problem(request.scope, 500, "internal", detail)
