"""A match's result as its process would find it, for tests of who shows it."""

from typing import Any

from service import clock, matches
from service.db.session import Database

SCORE = {"score": 0.12, "diagonal": 0.9, "stderr": 0.01, "val_loss": 0.3, "lr": 0.004}
NOTHING = {"score": 0.0, "diagonal": 0.0, "stderr": 0.0, "val_loss": 0.4, "lr": 0.004}
RESULT: dict[str, Any] = {
    "measured_by": "training",
    "steps": 200,
    "learning_rates": [0.004, 0.008],
    "axes": 2,
    "baselines": {"none": NOTHING, "data": None},
    "matches": [{"family": "digits", "version": 3, "covered": ["input:64"], **SCORE}],
    "left_out": 0,
    "unsuitable": [{"family": "prices", "version": None, "code": "no_champion", "reason": "It has none."}],
    "recommendation": {"warp": "family", "family": "digits", "version": 3, "reason": "digits@3 is better."},
}


def finish(database: Database, failure: tuple[str, str] | None = None) -> str:
    """Claims the next match and ends it; its id."""
    row = database.write(lambda session: matches.claim(session, clock.now()))
    assert row is not None
    if failure is not None:
        database.write(lambda session: matches.fail(session, row.id, row.attempts, *failure, clock.now()))
    else:
        database.write(lambda session: matches.succeed(session, row.id, row.attempts, RESULT, clock.now()))
    return row.id
