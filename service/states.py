"""Job states, which of them are terminal, and the one table of allowed transitions (CONTRACT, States).

Every change of a job's state goes through `check`; a terminal state is written once and never changed.
"""

from enum import StrEnum

from service.errors import InvalidState


class JobState(StrEnum):
    QUEUED = "queued"
    STARTING = "starting"
    RUNNING = "running"
    RECOVERING = "recovering"
    PAUSING = "pausing"
    PAUSED = "paused"
    CANCELLING = "cancelling"
    SUCCEEDED = "succeeded"
    FAILED = "failed"
    CANCELLED = "cancelled"

    @property
    def is_terminal(self) -> bool:
        return not ALLOWED[self]

    @property
    def has_attempt(self) -> bool:
        """Whether an attempt may be alive, which holds resources and a lease."""
        return self in _WITH_ATTEMPT


_S = JobState
_WITH_ATTEMPT = frozenset({_S.STARTING, _S.RUNNING, _S.PAUSING, _S.CANCELLING})

ALLOWED: dict[JobState, frozenset[JobState]] = {
    _S.QUEUED: frozenset({_S.STARTING, _S.PAUSED, _S.CANCELLED, _S.FAILED}),
    _S.STARTING: frozenset({_S.RUNNING, _S.QUEUED, _S.RECOVERING, _S.CANCELLING, _S.PAUSING, _S.FAILED}),
    _S.RUNNING: frozenset({_S.SUCCEEDED, _S.FAILED, _S.RECOVERING, _S.PAUSING, _S.CANCELLING}),
    _S.RECOVERING: frozenset({_S.STARTING, _S.QUEUED, _S.CANCELLING, _S.PAUSING, _S.FAILED}),
    _S.PAUSING: frozenset({_S.PAUSED, _S.SUCCEEDED, _S.FAILED, _S.RECOVERING, _S.CANCELLING}),
    _S.PAUSED: frozenset({_S.QUEUED, _S.CANCELLED}),
    _S.CANCELLING: frozenset({_S.CANCELLED, _S.SUCCEEDED, _S.FAILED}),
    _S.SUCCEEDED: frozenset(),
    _S.FAILED: frozenset(),
    _S.CANCELLED: frozenset(),
}

TERMINAL = frozenset(state for state in JobState if state.is_terminal)


def check(source: JobState, target: JobState) -> None:
    """Raises InvalidState where `source → target` is not in the table."""
    if target not in ALLOWED[source]:
        raise InvalidState(f"A job that is {source} cannot become {target}.")
