"""One process that runs user code, as the worker above it sees it.

Nothing that comes from there is believed (`frames`): messages are rebuilt, contributions passed on as bytes, and an end
counts only where it can be true. However the process ends, that is told as the code's failure.
"""

import os
import pickle
import select
import signal
import socket
import subprocess
import time
from contextlib import suppress
from dataclasses import replace
from typing import Protocol

from workers.code.blame import CodeError, ExitedError
from workers.code.child import Start
from workers.code.frames import BrokenFrameError, Frame, Frames, note_of, receive, send
from workers.code.prints import Prints
from workers.exchange import Exchange, Interrupted
from workers.failures import Cause
from workers.group import Group
from workers.mailbox import Note
from workers.plan import Plan
from workers.reporting import Event, Outcome, Printed, Stop

LOOK_S = 0.02
LEAVE_S = 5.0
"""After its last word it may take this long to end."""
HEADER_ROOM = 2**20
"""Names of keys take room beside the statistics of a contribution."""
NOTES_PER_S = 2000
_PEER_CODES = ("worker_failed",)
_NOT_CONFINED = "This node cannot confine user code, and WARPADAM_CODE_CONFINEMENT is required: "


class Listener(Protocol):
    """What is needed of a mailbox's reporter, or an inbox."""

    def post(self, message: Note) -> None: ...

    def stop(self) -> Stop | None: ...


class Below:
    """One process that runs user code, as its worker sees it."""

    def __init__(
        self,
        plan: Plan,
        group: Group,
        reporter: Listener,
        exchange: Exchange,
        process: "subprocess.Popen[bytes]",
        line: socket.socket,
        output: int,
    ) -> None:
        self._plan, self._group, self._reporter, self._exchange = plan, group, reporter, exchange
        self._process, self._line, self._output = process, line, output
        self._frames = Frames()
        self._prints = Prints(group.rank, lambda text: reporter.post(Printed(text)))
        self._stop: Stop | None = None
        self._in_flight = False
        self._version: int | None = None
        self._step = 0
        self._ending: Outcome | Cause | None = None
        self._done = False
        self._second, self._notes = 0.0, 0

    def serve(self, start: Start) -> Outcome | Cause | None:
        """Until its last word, or its end; None: it is not the leader, and has done its part."""
        try:
            with self._line.makefile("wb", buffering=0) as file:
                pickle.dump(start, file, protocol=5)
            while not self._done:
                if not self._look():
                    break
                self._pass_on()
        except BrokenFrameError as error:
            return CodeError(f"Your code wrote to a line that is not its own: {error}.").cause
        except (ConnectionError, TimeoutError):  # it has ended, or takes nothing in: what it said before counts
            self._drain()
        self._read_output()
        return self._ending if self._done else self._how_it_ended()

    def close(self) -> None:
        self._prints.close()

    def _look(self) -> bool:
        """Takes in what is there, waiting a little; False where nothing comes any more."""
        line = self._line.fileno()
        ready, _, _ = select.select([line, self._output], [], [], LOOK_S)
        if self._output in ready:
            self._read_output()
        if line not in ready:  # the line may be held open by what the process has left
            return self._process.poll() is None
        piece = receive(self._line)
        for frame in self._frames.feed(piece):
            self._take(frame)
        return bool(piece)

    def _drain(self) -> None:
        with suppress(OSError, BrokenFrameError):
            while not self._done and (piece := self._line.recv(2**20, socket.MSG_DONTWAIT)):
                for frame in self._frames.feed(piece):
                    self._note(frame)

    def _read_output(self) -> None:
        with suppress(BlockingIOError):
            while piece := os.read(self._output, 2**16):
                self._prints.feed(piece)
                if len(piece) < 2**16:
                    return

    def _pass_on(self) -> None:
        """Tells what is new from above."""
        stop = self._reporter.stop()
        if self._group.leads and stop is not None and self._stop is None:
            self._stop = stop
            self._send(Frame("stop", {"reason": stop}))
        if self._in_flight and self._exchange.ready():
            self._in_flight = False
            new = self._exchange.newest()
            version, blob = (new.version, new.data) if new else (None, b"")
            self._send(Frame("exchanged", {"version": version}, blob))

    def _take(self, frame: Frame) -> None:
        """One frame from below. Raises BrokenFrameError, and whatever the exchange with the meta-learner raises."""
        self._slow_down()
        match frame.kind:
            case "started":
                self._begin(str(frame.header.get("not_confined", ""))[:500])
            case "done" if not self._group.leads:
                self._done = True
            case "exchange" if self._group.leads and not self._in_flight and self._exchange.ready():
                if len(frame.blob) > self._plan.max_contribution_bytes + HEADER_ROOM:
                    raise BrokenFrameError(f"a contribution of {len(frame.blob)} bytes")
                self._exchange.send(frame.blob if frame.header.get("contributes") else None)
                self._in_flight = True
            case "flush" if self._group.leads:
                self._exchange.flush()
                self._pass_on()
                self._in_flight = False
                self._send(Frame("flushed"))
            case "finalize" if self._group.leads:
                self._send(Frame("finalized", self._finalized()))
            case _:
                self._note(frame)

    def _begin(self, not_confined: str) -> None:
        """It is confined, or says why it is not; it goes on where that is good enough."""
        if not_confined and self._plan.confinement == "required":
            self._done, self._ending = True, Cause("infrastructure", "code_not_confined", _NOT_CONFINED + not_confined)
            return
        if not_confined and self._group.leads:
            text = f"User code runs with the rights of the service's user on this node: {not_confined}"
            self._reporter.post(Event("warning", text, level="warning"))
        self._send(Frame("go"))

    def _finalized(self) -> dict[str, object]:
        try:
            self._version = self._exchange.finalize()
        except Interrupted as interrupted:
            self._stop = interrupted.reason  # heard here first
            return {"version": None, "interrupted": interrupted.reason}
        return {"version": self._version, "interrupted": None}

    def _note(self, frame: Frame) -> None:
        note = note_of(frame, self._plan.steps)
        if isinstance(note, Cause):
            self._done, self._ending = True, self._believed(note)
        elif not self._group.leads:
            raise BrokenFrameError(f"a worker that does not lead told {frame.kind}")
        elif isinstance(note, Outcome):
            self._done, self._ending = True, self._checked(note)
        elif note is not None:
            self._step = max(self._step, getattr(note, "step", 0))
            self._reporter.post(note)

    def _believed(self, cause: Cause) -> Cause:
        """Below there is no failure but the code's, and that of peers that were lost."""
        if cause.category == "infrastructure" and not (self._group.world > 1 and cause.code in _PEER_CODES):
            return CodeError(cause.message).cause
        return cause

    def _checked(self, outcome: Outcome) -> Outcome:
        if outcome.stopped is None and (outcome.step != self._plan.steps or "val_loss" not in (outcome.final or {})):
            raise BrokenFrameError(f"an end at step {outcome.step} of {self._plan.steps}")
        if outcome.stopped is not None and outcome.stopped != self._stop:
            raise BrokenFrameError("a stop that nobody asked for")
        return replace(outcome, version=self._version)

    def _how_it_ended(self) -> Cause:
        """Of a process that ended, or stopped listening, without a last word."""
        try:
            code = self._process.wait(LEAVE_S)
        except subprocess.TimeoutExpired:
            return CodeError(f"Your code closed the line to its worker at step {self._step}.").cause
        if code >= 0:
            message = (
                f"The process that ran your code ended with exit code {code} at step {self._step} without an error: "
            )
            return ExitedError(f"{message}look for os._exit, or a library that ends the process.").cause
        name = signal.Signals(-code).name
        if name == "SIGKILL":
            message = (
                f"The process that ran your code was killed at step {self._step}, most likely for want of memory: "
            )
            return Cause("user", "out_of_memory", f"{message}lower training.batch_size, or use a smaller model.")
        return ExitedError(
            f"The process that ran your code crashed at step {self._step} ({name}), in native code."
        ).cause

    def _send(self, frame: Frame) -> None:
        send(self._line, frame)

    def _slow_down(self) -> None:
        """More than a loop tells is read no faster: it waits below."""
        now = time.monotonic()
        if now - self._second >= 1:
            self._second, self._notes = now, 0
        self._notes += 1
        if self._notes > NOTES_PER_S:
            time.sleep(LOOK_S)
