"""The loop's side of the line, in the process that runs user code: what it tells, asks, and is told.

A thread reads what the worker says. Where the line ends the worker is gone, and this process ends too.
"""

import os
import socket
import threading
from typing import cast

from workers.code.frames import Frame, Frames, frame_of, receive, send
from workers.exchange import Interrupted, NewWarp
from workers.failures import Cause
from workers.reporting import Message, Outcome, Stop

ALONE = 70
"""Exit code of a process whose worker is gone."""


class Line:
    """A Reporter, and what `RemoteExchange` needs."""

    def __init__(self, line: socket.socket) -> None:
        self._line = line
        self._sending = threading.Lock()
        self._answers: dict[str, Frame] = {}
        self._heard = threading.Condition()
        self._stop: Stop | None = None
        threading.Thread(target=self._listen, name="line", daemon=True).start()

    def post(self, message: "Message | Outcome | Cause") -> None:
        self.send(frame_of(message))

    def stop(self) -> Stop | None:
        return self._stop

    def send(self, frame: Frame) -> None:
        with self._sending:
            send(self._line, frame)

    def answer(self, kind: str, *, wait: bool) -> Frame | None:
        """The frame of this kind, taken away; None where it is not here and not waited for."""
        with self._heard:
            while wait and kind not in self._answers:
                self._heard.wait()
            return self._answers.pop(kind, None)

    def _listen(self) -> None:
        frames = Frames()
        try:
            while piece := receive(self._line):
                for frame in frames.feed(piece):
                    self._hear(frame)
        finally:
            os._exit(ALONE)

    def _hear(self, frame: Frame) -> None:
        with self._heard:
            if frame.kind == "stop":
                self._stop = self._stop or cast(Stop, frame.header["reason"])
            else:
                self._answers[frame.kind] = frame
            self._heard.notify_all()


class RemoteExchange:
    """The worker's exchange with the meta-learner, from below."""

    def __init__(self, line: Line) -> None:
        self._line = line
        self._in_flight = False
        self._new: NewWarp | None = None

    def ready(self) -> bool:
        if self._in_flight:
            self._take(self._line.answer("exchanged", wait=False))
        return not self._in_flight

    def send(self, contribution: bytes | None) -> None:
        self._in_flight = True
        self._line.send(Frame("exchange", {"contributes": contribution is not None}, contribution or b""))

    def newest(self) -> NewWarp | None:
        self.ready()
        new, self._new = self._new, None
        return new

    def flush(self) -> None:
        """The worker answers an exchange in flight before it answers this."""
        self._line.send(Frame("flush"))
        self._line.answer("flushed", wait=True)
        self._in_flight = False
        self._take(self._line.answer("exchanged", wait=False))

    def finalize(self) -> int | None:
        self._line.send(Frame("finalize"))
        answer = self._line.answer("finalized", wait=True)
        assert answer is not None
        if (reason := answer.header["interrupted"]) is not None:
            raise Interrupted(cast(Stop, reason))
        version: int | None = answer.header["version"]
        return version

    def _take(self, answer: Frame | None) -> None:
        if answer is None:
            return
        self._in_flight = False
        if answer.header["version"] is not None:
            self._new = NewWarp(answer.header["version"], answer.blob)
