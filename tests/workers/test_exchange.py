"""The line to the meta-learner: in the background, sent again where it was lost, silent after a refusal."""

import threading
from collections.abc import Callable
from dataclasses import dataclass

import pytest

from service.agreed import RefusedError
from service.errors import Unavailable
from workers.exchange import Interrupted, LearnerExchange, NewWarp, Waiting
from workers.reporting import Stop


@dataclass
class Answer:
    refused: dict[str, str] | None = None
    version: int | None = None
    warp: bytes | None = None


class Client:
    """Answers what it was given, in turn; an error is raised. `gate` holds answers back."""

    def __init__(self, *answers: Answer | Exception) -> None:
        self.answers = list(answers)
        self.asked: list[tuple[bytes | None, int | None]] = []
        self.finals: list[int | Exception] = [5]
        self.gate = threading.Event()
        self.gate.set()

    def exchange(
        self, contribution: bytes | None, *, token: int, job_id: str, follow: str | None, have_version: int | None
    ) -> Answer:
        self.gate.wait()
        self.asked.append((contribution, have_version))
        answer = self.answers.pop(0)
        if isinstance(answer, Exception):
            raise answer
        return answer

    def finalize(self, job_id: str, *, token: int) -> int | None:
        self.gate.wait()
        answer = self.finals.pop(0)
        if isinstance(answer, Exception):
            raise answer
        return answer


def exchange(client: Client, waiting: Waiting | None = None) -> LearnerExchange:
    return LearnerExchange(client, "job_x", 1, follow="champion", version=2, waiting=waiting)


def until(done: Callable[[], bool]) -> None:
    while not done():
        pass


def test_nothing_waits_while_one_is_in_flight() -> None:
    client = Client(Answer())
    line = exchange(client)
    client.gate.clear()
    assert line.ready()
    line.send(b"a")
    assert not line.ready()
    assert line.newest() is None
    client.gate.set()
    line.flush()
    assert line.ready()
    assert client.asked == [(b"a", 2)]


def test_a_newer_p_is_given_once_and_asked_for_no_more() -> None:
    client = Client(Answer(version=3, warp=b"p"), Answer())
    line = exchange(client)
    line.send(None)
    line.flush()
    assert line.newest() == NewWarp(3, b"p")
    assert line.newest() is None
    line.send(None)
    line.flush()
    assert client.asked == [(None, 2), (None, 3)]


def test_what_got_no_answer_is_sent_again() -> None:
    client = Client(Unavailable("away"), Answer())
    line = exchange(client)
    line.send(b"a")
    until(line.ready)
    assert client.asked == [(b"a", 2), (b"a", 2)]


def test_what_failed_there_is_sent_again() -> None:
    client = Client(OSError("its disk is full"), Answer())
    line = exchange(client)
    line.send(b"a")
    line.flush()
    assert client.asked == [(b"a", 2), (b"a", 2)]
    client.finals = [OSError("its database is away"), 7]
    assert line.finalize() == 7


def test_a_flush_without_an_answer_is_an_error() -> None:
    client, said = Client(), list[str]()
    client.gate.clear()
    line = exchange(client, Waiting(warn=said.append, patience_s=0.05, warn_after_s=0.0))
    line.send(b"a")
    with pytest.raises(Unavailable):
        line.flush()
    assert len(said) == 1
    client.gate.set()


@pytest.mark.parametrize("reason", ["cancel", "pause"])
def test_who_is_to_stop_waits_no_longer(reason: Stop) -> None:
    client = Client()
    client.gate.clear()
    line = exchange(client, Waiting(stop=lambda: reason, farewell_s=0.01))
    line.send(b"a")
    line.flush()
    line.send(b"b")
    line.flush()
    with pytest.raises(Interrupted) as caught:
        line.finalize()
    assert caught.value.reason == reason
    client.gate.set()


def test_a_cancel_while_the_version_is_made_is_seen() -> None:
    client = Client()
    client.gate.clear()
    asked: list[Stop] = []
    line = exchange(client, Waiting(stop=lambda: asked[0] if asked else None))
    threading.Timer(0.05, lambda: asked.append("cancel")).start()
    with pytest.raises(Interrupted):
        line.finalize()
    client.gate.set()


def test_a_stale_token_is_an_error_at_once() -> None:
    client = Client()
    client.finals = [RefusedError("stale_token", "another one has taken its place")]
    with pytest.raises(RefusedError):
        exchange(client).finalize()


def test_after_a_refusal_nothing_is_contributed() -> None:
    client = Client(Answer(refused={"code": "not_psd", "message": "no"}), Answer())
    line = exchange(client)
    line.send(b"a")
    line.flush()
    line.send(b"b")
    line.flush()
    assert [contribution for contribution, _ in client.asked] == [b"a", None]
    assert line.finalize() == 5
