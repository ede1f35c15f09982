"""An attempt as its runner would write it, for tests of what the API shows."""

from dataclasses import dataclass
from typing import Any

from service import attempts, clock
from service.attempts import Fence, Outcome
from service.db.session import Database
from service.metrics import Point
from service.storage import Storage


@dataclass(frozen=True)
class Attempt:
    database: Database
    fence: Fence

    @classmethod
    def begin(cls, database: Database) -> "Attempt":
        """Claims the next job and starts it."""
        claim = database.write(
            lambda s: attempts.claim_next(s, now=clock.now(), lease_s=60, launcher="process", fits=lambda _: True)
        )
        assert claim is not None
        database.write(lambda s: attempts.start(s, claim.fence, start_step=0, pid=1, now=clock.now()))
        return cls(database, claim.fence)

    def metric(self, name: str, values: list[float]) -> None:
        points = [Point(name, step, value, clock.now()) for step, value in enumerate(values)]
        self.database.write(lambda s: attempts.add_metrics(s, self.fence, points))

    def tell(self, message: str) -> None:
        self.database.write(lambda s: attempts.add_event(s, self.fence, "progress", "info", message, {}))

    def checkpoint(self, storage: Storage, data: bytes, step: int, *, is_best: bool = True) -> None:
        stored = storage.put("checkpoints", data)
        self.database.write(
            lambda s: attempts.publish_checkpoint(
                s, self.fence, step=step, stored=stored, state=None, val_loss=0.5, is_best=is_best, model=None
            )
        )

    def finish(self, outcome: Outcome = "succeeded", **said: Any) -> None:
        self.database.write(lambda s: attempts.finish(s, self.fence, outcome=outcome, now=clock.now(), **said))
