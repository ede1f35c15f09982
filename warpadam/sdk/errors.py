"""What the client raises.

WarpAdamError
├── ConnectionFailed       no answer: the service is not there, or broke off
├── WaitTimeout            a wait took longer than it was given
├── JobFailed              a job that was waited for failed
└── ApiError               the service answered with an error (RFC 9457); mirrors the contract's codes
    ├── BadRequest         400, 413, 415, 416, 422: the request is wrong; `errors` lists each mistake
    ├── AuthenticationError  401
    ├── PermissionDenied   403
    ├── NotFound           404
    ├── Conflict           409, 412
    ├── RateLimited        429
    └── ServerError        5xx
"""

from collections.abc import Mapping, Sequence
from typing import Any


class WarpAdamError(Exception):
    """Base of everything that the client raises by itself."""


class ConnectionFailed(WarpAdamError):
    pass


class WaitTimeout(WarpAdamError):
    pass


class JobFailed(WarpAdamError):
    """`failure` is the job's own: category, code, message, attempt, retryable."""

    def __init__(self, job_id: str, failure: Mapping[str, Any] | None) -> None:
        self.job_id = job_id
        self.failure = dict(failure or {})
        reason = self.failure.get("message") or "no reason given"
        super().__init__(f"{job_id} failed: {reason}")


class ApiError(WarpAdamError):
    def __init__(self, status: int, problem: Mapping[str, Any]) -> None:
        self.status = status
        self.code: str = problem.get("code") or f"http_{status}"
        self.detail: str = problem.get("detail") or problem.get("title") or f"The service answered {status}."
        self.param: str | None = problem.get("param")
        self.errors: Sequence[Mapping[str, str]] = problem.get("errors") or ()
        self.request_id: str | None = problem.get("request_id")
        super().__init__(self._text())

    def _text(self) -> str:
        lines = [f"{self.detail} [{self.code}]"]
        if len(self.errors) > 1:
            lines += [f"  {error.get('param')}: {error.get('message')}" for error in self.errors]
        return "\n".join(lines)


class BadRequest(ApiError):
    pass


class AuthenticationError(ApiError):
    pass


class PermissionDenied(ApiError):
    pass


class NotFound(ApiError):
    pass


class Conflict(ApiError):
    pass


class RateLimited(ApiError):
    pass


class ServerError(ApiError):
    pass


_BY_STATUS: dict[int, type[ApiError]] = {
    401: AuthenticationError,
    403: PermissionDenied,
    404: NotFound,
    409: Conflict,
    412: Conflict,
    429: RateLimited,
}


def from_answer(status: int, problem: Mapping[str, Any]) -> ApiError:
    """The error that an answer of this status means."""
    kind = _BY_STATUS.get(status, ServerError if status >= 500 else BadRequest)
    return kind(status, problem)
