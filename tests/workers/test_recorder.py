"""The heartbeat: carries both ways, survives a database that is away, and ends with the lease."""

import threading
from collections.abc import Sequence

from service.attempts import LostLease
from workers.mailbox import Ended, Inbox, Note
from workers.recorder import Recorder
from workers.reporting import Outcome, Progress, Stop


class Records:
    """A book that keeps what it took; each beat answers, or raises, what `script` says, and then nothing."""

    def __init__(self, *script: Stop | Exception | None) -> None:
        self.script = list(script)
        self.taken: list[Note] = []
        self.written: list[Note] = []
        self.beaten = threading.Event()

    def take(self, notes: Sequence[Note]) -> None:
        self.taken += notes

    def beat(self) -> Stop | None:
        answer = self.script.pop(0) if self.script else None
        if not self.script:
            self.beaten.set()
        if isinstance(answer, Exception):
            raise answer
        self.written = list(self.taken)
        return answer

    @property
    def is_settled(self) -> bool:
        return self.written == self.taken

    def settle(self, seconds: float) -> None:
        return

    @property
    def step(self) -> int | None:
        return None


def test_what_the_user_wants_reaches_the_loop() -> None:
    records, inbox = Records("pause"), Inbox()
    recorder = Recorder(records, inbox, 0.001)
    recorder.start()
    records.beaten.wait()
    recorder.close()
    assert inbox.stop() == "pause"
    assert recorder.asked == "pause"


def test_the_first_reason_to_stop_stands() -> None:
    records, inbox = Records("cancel"), Inbox()
    recorder = Recorder(records, inbox, 0.001)
    recorder.ask("preempt")
    recorder.start()
    records.beaten.wait()
    recorder.close()
    assert inbox.stop() == "preempt"


def test_a_database_that_is_away_loses_nothing() -> None:
    records, inbox = Records(OSError("away"), OSError("away"), None), Inbox()
    recorder = Recorder(records, inbox, 0.001)
    inbox.post(Progress(1, None))
    recorder.start()
    records.beaten.wait()
    recorder.drain()
    assert records.written == [Progress(1, None)]


def test_a_lost_lease_stops_the_loop_and_the_heartbeat() -> None:
    records, inbox = Records(LostLease("gone")), Inbox()
    recorder = Recorder(records, inbox, 0.001)
    recorder.start()
    records.beaten.wait()
    recorder.close()
    assert inbox.stop() == "lost"
    assert recorder.lost


def test_draining_writes_all_and_gives_the_last_words() -> None:
    records, first, second = Records(), Inbox(), Inbox()
    recorder = Recorder(records, first, 60)
    first.post(Progress(1, None))
    recorder.ask("cancel")
    recorder.listen(second)
    second.post(Progress(2, None))
    second.post(Ended(Outcome(2, 0.1, stopped="cancel")))
    assert recorder.drain() == [Ended(Outcome(2, 0.1, stopped="cancel"))]
    assert records.written == [Progress(1, None), Progress(2, None)]
    assert second.stop() == "cancel"


def test_another_number_of_workers_ends_this_group_and_not_the_attempt() -> None:
    records, first, second = Records("resize"), Inbox(), Inbox()
    recorder = Recorder(records, first, 0.001)
    recorder.start()
    records.beaten.wait()
    recorder.close()
    first.post(Progress(3, None))
    first.post(Ended(Outcome(3, 0.1, stopped="resize")))
    assert (first.stop(), recorder.asked) == ("resize", None)
    assert recorder.hear_out(1.0) == [Ended(Outcome(3, 0.1, stopped="resize"))]
    recorder.listen(second)
    assert second.stop() is None
    assert recorder.drain() == []
    assert records.written == [Progress(3, None)]


def test_what_comes_after_the_last_words_is_nobodys() -> None:
    records, inbox = Records(), Inbox()
    recorder = Recorder(records, inbox, 60)
    assert recorder.hear_out(0.0) == []
    inbox.post(Progress(1, None))
    assert recorder.drain() == []
    assert records.written == []
