"""Sends what webhooks are to be told, in threads of its own; several dispatchers may do so at once.

Whatever a receiver does, it holds up only itself: of one webhook at most two messages are on their way, each has
`TRY_S` in all, and little of an answer is read and nothing of it is kept.
"""

import logging
import threading
from collections import Counter
from concurrent.futures import FIRST_COMPLETED, Future, ThreadPoolExecutor, wait
from dataclasses import dataclass, field
from functools import partial

from sqlalchemy.exc import SQLAlchemyError

from service import clock, deliveries, outbound, webhooks
from service.db.session import Database
from service.deliveries import Outcome, Parcel
from service.outbound import Guard, Refused
from service.settings import Settings

log = logging.getLogger(__name__)

LOOK_EVERY_S = 1.0
AFTER_TROUBLE_S = 10.0
FORGET_EVERY_S = 3600.0
SLOTS = 8
PER_WEBHOOK = 2
TRY_S = 20.0


@dataclass
class Courier:
    settings: Settings
    database: Database
    guard: Guard
    _under_way: dict[Future[None], Parcel] = field(default_factory=dict, init=False)

    def run(self, stop: threading.Event) -> None:
        """Until `stop`; what is on its way then is waited for. Trouble with the database is waited out."""
        forgotten = 0.0
        with ThreadPoolExecutor(SLOTS, "webhooks") as pool:
            while not stop.is_set():
                try:
                    self.step(pool)
                    if clock.now().timestamp() - forgotten >= FORGET_EVERY_S:
                        self.database.write(lambda session: deliveries.forget(session, clock.now()))
                        forgotten = clock.now().timestamp()
                except SQLAlchemyError as error:
                    log.warning("webhooks wait for the database: %s", type(error).__name__)
                    stop.wait(AFTER_TROUBLE_S)
                self._pause(stop)

    def step(self, pool: ThreadPoolExecutor) -> int:
        """Takes what is due and there is room for; how many."""
        for future in [each for each in self._under_way if each.done()]:
            self._reap(future)
        room, loads = SLOTS - len(self._under_way), Counter(each.webhook_id for each in self._under_way.values())
        busy = [webhook for webhook, load in loads.items() if load >= PER_WEBHOOK]
        now = clock.now()
        with self.database.read() as session:
            if not room or not deliveries.any_due(session, now, busy):
                return 0
        parcels = self.database.write(
            lambda session: deliveries.claim(session, now, room, per_webhook=PER_WEBHOOK, busy=busy)
        )
        for parcel in parcels:
            self._under_way[pool.submit(self._deliver, parcel)] = parcel
        return len(parcels)

    def _pause(self, stop: threading.Event) -> None:
        if self._under_way:
            wait(self._under_way, LOOK_EVERY_S, FIRST_COMPLETED)
        else:
            stop.wait(LOOK_EVERY_S)

    def _reap(self, future: Future[None]) -> None:
        parcel = self._under_way.pop(future)
        if (error := future.exception()) is not None:  # its lease ends, and it is tried again
            log.warning("delivery %s could not be settled: %s", parcel.id, type(error).__name__)

    def _deliver(self, parcel: Parcel) -> None:
        outcome = send(self.guard, parcel, webhooks.schemes(self.settings))
        if not outcome.is_good:
            log.info("webhook %s, try %d: %s", parcel.webhook_id, parcel.attempt, outcome.reason)
        self.database.write(lambda session: deliveries.settle(session, parcel, outcome, clock.now()))


def send(guard: Guard, parcel: Parcel, schemes: tuple[str, ...], deadline_s: float = TRY_S) -> Outcome:
    """One try. A redirect is not followed, and is a failure."""
    headers = deliveries.headers(parcel, clock.now())
    post = partial(outbound.request, guard, "POST", parcel.url, schemes=schemes, deadline_s=deadline_s)
    try:
        with post(headers=headers, content=parcel.body.encode()) as answer:
            return Outcome(answer.status)
    except Refused as error:
        return Outcome(None, f"refused: {error}")
    except outbound.FAILURES as error:
        return Outcome(None, f"no answer ({type(error).__name__})")
    except Exception as error:  # whatever a receiver makes a library raise must not be taken for success, nor end us
        log.exception("webhook %s", parcel.webhook_id)
        return Outcome(None, f"no answer ({type(error).__name__})")


def start(settings: Settings, database: Database, stop: threading.Event) -> threading.Thread:
    """Runs a courier until `stop`; its thread."""
    courier = Courier(settings, database, Guard.of(settings))
    thread = threading.Thread(target=courier.run, args=(stop,), name="courier", daemon=True)
    thread.start()
    return thread
