"""What schemathesis is told of this service: what not to send, and which failures are none, each with its reason."""

import os
from typing import Any

import schemathesis
from schemathesis.core.failures import Failure
from schemathesis.openapi.checks import AllowHeaderMismatch, EnsureResourceAvailability, RejectedPositiveData

OWN_KEY = os.environ.get("WARPADAM_FUZZ_OWN_KEY", "")
"""Empty: the service needs none."""

SAID_BY_RULES = frozenset(
    {
        "dataset_not_found",
        "warp_not_found",
        "checkpoint_not_found",
        "digest_mismatch",
        "etag_mismatch",
        "idempotency_mismatch",
        "range_not_satisfiable",
        "unsupported",
    }
)
"""Codes for what no JSON Schema can say: that what is named is not there, or does not fit what is."""
BETWEEN_FIELDS = "value_error"
"""Of one field among `errors`: a rule over several fields, such as steps or epochs, not both."""


@schemathesis.hook
def before_load_schema(context: Any, raw_schema: dict[str, Any]) -> None:
    """On loopback without keys nothing is wanted: what the document says of keys is of services that have some."""
    if not OWN_KEY:
        for operations in raw_schema["paths"].values():
            for operation in operations.values():
                operation.pop("security", None)


@schemathesis.hook
def filter_case(context: Any, case: Any) -> bool:
    """Revoking the very key of the run would end it: everything after would be 401."""
    return not (OWN_KEY and case.method == "DELETE" and (case.path_parameters or {}).get("key_id") == OWN_KEY)


REPLAYED: set[str] = set()
"""What replayed answers to a POST say was made: it may have been deleted since."""


@schemathesis.hook
def after_call(context: Any, case: Any, response: Any) -> None:
    if "idempotent-replayed" in response.headers:
        REPLAYED.update(value for value in response.json().values() if isinstance(value, str))


@schemathesis.hook
def filter_failure(context: Any, failure: Failure, case: Any, response: Any) -> bool:
    """Data that fits its schema and was refused is a failure only where the schema could have said so.

    A 422 that lists fields comes from the schema, but for rules between fields. One that lists none comes from the
    rules of the service: cursors are opaque, files must be what they are said to be, URLs must lead somewhere.
    Of /v1/families/match, Allow also names what may be done with a family that is called so. An answer that is replayed
    for its Idempotency-Key is what was said then: what it names may be gone.
    """
    if isinstance(failure, AllowHeaderMismatch) and case.path == "/v1/families/match":
        return False
    if isinstance(failure, EnsureResourceAvailability) and REPLAYED & set((case.path_parameters or {}).values()):
        return False
    if not isinstance(failure, RejectedPositiveData) or response.status_code not in (412, 416, 422):
        return True
    problem = response.json()
    if problem["code"] in SAID_BY_RULES:
        return False
    fields = problem.get("errors", [])
    return any(each["code"] != BETWEEN_FIELDS for each in fields)
