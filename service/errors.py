"""The errors that the service tells its users about.

ServiceError
├── InvalidRequest            the request's content is wrong; carries one FieldError per mistake
│   └── BadReference          it names something that is not there (dataset, family, warp, checkpoint)
├── NotFound                  the path names something that is not there, or not yours
├── Collected                 its row is there, its file is not: retention removed it
├── Conflict                  what is there does not allow it
│   ├── InvalidState          the job's state does not allow it
│   ├── InUse                 something else still needs it
│   ├── DatasetNotReady       the dataset is being inspected, or is invalid
│   └── IdempotencyInFlight   the first request with this key is still being executed
├── IdempotencyMismatch       the key was used with another body
├── EtagMismatch              If-Match names another version than the current one
├── Unauthenticated           no key came, or none that is good (`no_key`, `bad_key`)
├── Limited                   too much, at present; `retry_after_s` says when to try again
│   ├── RateLimited           too many requests
│   └── QuotaExceeded         the project has what it may have
├── Forbidden                 the server or the key does not allow it (`code_disabled`, `missing_scope`)
├── TooLarge                  larger than the server accepts
├── StorageFull               the storage has no room
└── Unavailable               a part of the service is not there at present; try again

They know no HTTP: `api/errors.py` maps them. Each can be pickled, and says in `detail` what to do.
"""

from dataclasses import dataclass
from typing import Any, ClassVar, Self


@dataclass(frozen=True, slots=True)
class FieldError:
    """One mistake in a request: `param` is a dotted path such as `optimizer.lr`."""

    param: str
    code: str
    message: str


class ServiceError(Exception):
    """Base of all; `code` is the machine's word for it, `detail` the person's, `param` the field at fault."""

    code: ClassVar[str] = "internal"

    def __init__(self, detail: str, *, param: str | None = None, code: str | None = None) -> None:
        super().__init__(detail)
        self.detail = detail
        self.param = param
        self.error_code = code or type(self).code

    def __reduce__(self) -> tuple[Any, ...]:
        return _rebuild, (type(self), dict(self.__dict__), self.args)


def _rebuild(kind: type[ServiceError], state: dict[str, Any], args: tuple[Any, ...]) -> ServiceError:
    error = kind.__new__(kind, *args)
    error.args = args
    error.__dict__.update(state)
    return error


class InvalidRequest(ServiceError):
    code = "invalid_request"

    def __init__(
        self, detail: str, *, param: str | None = None, code: str | None = None, errors: tuple[FieldError, ...] = ()
    ) -> None:
        super().__init__(detail, param=param, code=code)
        self.errors = errors

    @classmethod
    def of(cls, errors: list[FieldError]) -> Self:
        """One error for all the mistakes that were found."""
        first = errors[0]
        more = f" (and {len(errors) - 1} more)" if len(errors) > 1 else ""
        return cls(f"{first.param}: {first.message}{more}", param=first.param, errors=tuple(errors))


class BadReference(InvalidRequest):
    """Pass `code`: dataset_not_found, family_not_found, warp_not_found or checkpoint_not_found."""


class NotFound(ServiceError):
    code = "not_found"


class Collected(ServiceError):
    code = "collected"


class Conflict(ServiceError):
    code = "conflict"


class InvalidState(Conflict):
    code = "invalid_state"


class InUse(Conflict):
    code = "in_use"


class DatasetNotReady(Conflict):
    code = "dataset_not_ready"


class IdempotencyInFlight(Conflict):
    code = "idempotency_in_flight"


class IdempotencyMismatch(ServiceError):
    code = "idempotency_mismatch"


class EtagMismatch(ServiceError):
    code = "etag_mismatch"


class Forbidden(ServiceError):
    code = "missing_scope"


class Unauthenticated(ServiceError):
    """Pass `code`: no_key or bad_key."""

    code = "bad_key"


class Limited(ServiceError):
    code = "rate_limited"

    def __init__(
        self, detail: str, *, param: str | None = None, code: str | None = None, retry_after_s: int = 1
    ) -> None:
        super().__init__(detail, param=param, code=code)
        self.retry_after_s = retry_after_s


class RateLimited(Limited):
    pass


class QuotaExceeded(Limited):
    code = "quota_exceeded"


class TooLarge(ServiceError):
    code = "too_large"


class StorageFull(ServiceError):
    code = "storage_full"


class Unavailable(ServiceError):
    code = "unavailable"
