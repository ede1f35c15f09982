"""What the client raises. Errors of the service mirror its codes: catch the class, or its parent.

WarpAdamError
├── ConnectionFailed         no answer: the service is not there, or broke off
├── UnexpectedAnswer         something answers that is no WarpAdam service
├── WaitTimeout              a wait took longer than it was given
├── JobFailed                a job that was waited for failed
├── MatchFailed              which families' P suit some data could not be measured
├── DatasetInvalid           the service could not make sense of a dataset
├── DamagedTransfer          what arrived is not what was sent, by its sha256
└── ApiError                 the service answered with an error (RFC 9457)
    ├── BadRequest           400, 408, 413, 415, 416, 422: the request is wrong; `errors` lists each mistake
    │   ├── InvalidRequest       invalid_request
    │   ├── BadReference         dataset_not_found, family_not_found, warp_not_found, checkpoint_not_found
    │   ├── IdempotencyMismatch  idempotency_mismatch
    │   └── TooLarge             too_large
    ├── AuthenticationError  401: no_key, bad_key
    ├── PermissionDenied     403
    │   ├── MissingScope         missing_scope
    │   └── CodeDisabled         code_disabled
    ├── NotFound             404, 410
    │   └── Collected            collected: its row is there, its file was removed by retention
    ├── Conflict             409, 412
    │   ├── InvalidState         invalid_state
    │   ├── InUse                in_use
    │   ├── DatasetNotReady      dataset_not_ready
    │   ├── IdempotencyInFlight  idempotency_in_flight
    │   └── EtagMismatch         etag_mismatch
    ├── RateLimited          429: `retry_after` seconds
    │   └── QuotaExceeded        quota_exceeded
    └── ServerError          5xx
        ├── Unavailable          unavailable
        └── StorageFull          storage_full
"""

from collections.abc import Mapping, Sequence
from typing import Any


class WarpAdamError(Exception):
    """Base of everything that the client raises by itself."""


class ConnectionFailed(WarpAdamError):
    pass


class UnexpectedAnswer(ConnectionFailed):
    pass


class WaitTimeout(WarpAdamError):
    pass


class DatasetInvalid(WarpAdamError):
    pass


class DamagedTransfer(WarpAdamError):
    pass


class JobFailed(WarpAdamError):
    """`failure` is the job's own: category, code, message, attempt, retryable."""

    def __init__(self, job_id: str, failure: Mapping[str, Any] | None) -> None:
        self.job_id = job_id
        self.failure = dict(failure or {})
        reason = self.failure.get("message") or "no reason given"
        super().__init__(f"{job_id} failed: {reason}")


class MatchFailed(WarpAdamError):
    """`failure` is the match's own: code, message."""

    def __init__(self, match_id: str, failure: Mapping[str, Any] | None) -> None:
        self.match_id = match_id
        self.failure = dict(failure or {})
        super().__init__(f"{match_id} failed: {self.failure.get('message') or 'no reason given'}")


class ApiError(WarpAdamError):
    """`code` is the machine's word, `detail` the person's, `param` the field at fault, `request_id` for the log.

    `content` is all that came.
    """

    def __init__(self, status: int, problem: Mapping[str, Any], retry_after: float | None = None) -> None:
        self.status = status
        self.content = dict(problem)
        self.code: str = problem.get("code") or f"http_{status}"
        self.detail: str = problem.get("detail") or problem.get("title") or f"The service answered {status}."
        self.param: str | None = problem.get("param")
        self.errors: Sequence[Mapping[str, str]] = problem.get("errors") or ()
        self.request_id: str | None = problem.get("request_id")
        self.retry_after = retry_after
        super().__init__(self._text())

    def _text(self) -> str:
        lines = [f"{self.detail} [{self.code}]"]
        if len(self.errors) > 1:
            lines += [f"  {error.get('param')}: {error.get('message')}" for error in self.errors]
        return "\n".join(lines)


class BadRequest(ApiError):
    pass


class InvalidRequest(BadRequest):
    pass


class BadReference(BadRequest):
    pass


class IdempotencyMismatch(BadRequest):
    pass


class TooLarge(BadRequest):
    pass


class AuthenticationError(ApiError):
    pass


class PermissionDenied(ApiError):
    pass


class MissingScope(PermissionDenied):
    pass


class CodeDisabled(PermissionDenied):
    pass


class NotFound(ApiError):
    pass


class Collected(NotFound):
    pass


class Conflict(ApiError):
    pass


class InvalidState(Conflict):
    pass


class InUse(Conflict):
    pass


class DatasetNotReady(Conflict):
    pass


class IdempotencyInFlight(Conflict):
    pass


class EtagMismatch(Conflict):
    pass


class RateLimited(ApiError):
    pass


class QuotaExceeded(RateLimited):
    pass


class ServerError(ApiError):
    pass


class Unavailable(ServerError):
    pass


class StorageFull(ServerError):
    pass


_BY_CODE: dict[str, type[ApiError]] = {
    "invalid_request": InvalidRequest,
    "dataset_not_found": BadReference,
    "family_not_found": BadReference,
    "warp_not_found": BadReference,
    "checkpoint_not_found": BadReference,
    "idempotency_mismatch": IdempotencyMismatch,
    "too_large": TooLarge,
    "missing_scope": MissingScope,
    "code_disabled": CodeDisabled,
    "collected": Collected,
    "invalid_state": InvalidState,
    "in_use": InUse,
    "dataset_not_ready": DatasetNotReady,
    "idempotency_in_flight": IdempotencyInFlight,
    "etag_mismatch": EtagMismatch,
    "quota_exceeded": QuotaExceeded,
    "unavailable": Unavailable,
    "storage_full": StorageFull,
}
_BY_STATUS: dict[int, type[ApiError]] = {
    401: AuthenticationError,
    403: PermissionDenied,
    404: NotFound,
    409: Conflict,
    410: NotFound,
    412: Conflict,
    429: RateLimited,
}


def from_answer(status: int, problem: Mapping[str, Any], retry_after: float | None = None) -> ApiError:
    """The error that an answer means: by its code, else, where this client does not know it, by its status."""
    kind = _BY_STATUS.get(status, ServerError if status >= 500 else BadRequest)
    named = _BY_CODE.get(str(problem.get("code")))
    return (named if named and issubclass(named, kind) else kind)(status, problem, retry_after)
