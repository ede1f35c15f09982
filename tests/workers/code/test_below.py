"""What a worker makes of a process that runs user code: of what it says, and of how it ends."""

import signal
import socket
import subprocess
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from dataclasses import replace

import pytest

from tests.workers.code.packed import code_plan
from tests.workers.plans import Learner
from workers.code.below import NOTES_PER_S, Below
from workers.code.frames import BrokenFrameError, Frame
from workers.group import Group
from workers.mailbox import Inbox
from workers.plan import Plan
from workers.reporting import Outcome

Made = Callable[..., Below]


@pytest.fixture
def below() -> Iterator[Made]:
    """What a worker sees of a process that ended with a code, without a word."""
    with ExitStack() as stack:

        def made(code: int, plan: Plan | None = None) -> Below:
            ending = f"kill -{-code} $$" if code < 0 else f"exit {code}"
            process = stack.enter_context(subprocess.Popen(["/bin/sh", "-c", ending]))
            process.wait()
            line = stack.enter_context(socket.socket())
            return Below(plan or code_plan(), Group(), Inbox(), Learner(), process, line, -1)

        yield made


@pytest.mark.parametrize(
    ("code", "named", "says"),
    [
        (0, "code_exited", "exit code 0"),
        (-signal.SIGSEGV, "code_exited", "crashed at step 0 (SIGSEGV)"),
        (-signal.SIGKILL, "out_of_memory", "want of memory"),
    ],
)
def test_every_end_without_a_word_is_the_codes(below: Made, code: int, named: str, says: str) -> None:
    cause = below(code)._how_it_ended()
    assert (cause.category, cause.code) == ("user", named)
    assert says in cause.message


def test_a_node_that_cannot_confine_runs_it_only_where_that_was_said(below: Made) -> None:
    strict = below(0, replace(code_plan(), confinement="required"))
    strict._begin("no Landlock")
    assert strict._ending is not None
    assert (strict._done, strict._ending.code) == (True, "code_not_confined")  # type: ignore[union-attr]
    inbox, sent = Inbox(), list[Frame]()
    lenient = below(0, replace(code_plan(), confinement="preferred"))
    lenient._reporter, lenient._send = inbox, sent.append  # type: ignore[method-assign]
    lenient._begin("no Landlock")
    assert [frame.kind for frame in sent] == ["go"]
    assert [getattr(note, "level", None) for note in inbox.drain()] == ["warning"]


def test_only_an_end_that_can_be_true_is_one(below: Made) -> None:
    outcome = Outcome(20, 1.0, final={"val_loss": 0.0}, version=99)
    assert below(0)._checked(outcome).version is None
    for false in (replace(outcome, step=19), replace(outcome, final=None), replace(outcome, stopped="pause")):
        with pytest.raises(ValueError, match=r"an end|a stop"):
            below(0)._checked(false)


def test_a_contribution_larger_than_any_is_not_passed_on(below: Made) -> None:
    plan = replace(code_plan(), max_contribution_bytes=100)
    with pytest.raises(BrokenFrameError, match="contribution of 1048677 bytes"):
        below(0, plan)._take(Frame("exchange", {"contributes": True}, bytes(2**20 + 101)))


def test_messages_in_a_flood_are_read_no_faster(below: Made, monkeypatch: pytest.MonkeyPatch) -> None:
    slept: list[float] = []
    monkeypatch.setattr(time, "sleep", slept.append)
    flooded = below(0)
    for _ in range(NOTES_PER_S + 5):
        flooded._slow_down()
    assert 1 <= len(slept) <= 5
