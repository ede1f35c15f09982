"""What goes between a training worker and the process below it that runs user code: frames of JSON and raw bytes.

A frame is two lengths, a header of JSON, and one blob. The worker believes nothing that comes from below: `note_of`
makes a message only of fields that have the right names, types and bounds, and nothing is ever unpickled there. (The
other way a plan travels pickled: below, everybody believes the worker.)
"""

import json
import math
import socket
import struct
from collections.abc import Iterator
from dataclasses import asdict, dataclass, field
from datetime import datetime
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from workers.failures import Cause
from workers.reporting import Event, Message, Metric, Outcome, Progress, Saved, WarpUse

MAX_HEADER, MAX_BLOB = 2**20, 2**36
_LENGTHS = struct.Struct("!IQ")
_PIECE = 2**20

METRICS = frozenset({"train_loss", "val_loss", "val_accuracy", "lr", "grad_norm", "step_seconds"})
Header = dict[str, Any]


class BrokenFrameError(ValueError):
    """What came is no frame of ours."""


@dataclass(frozen=True)
class Frame:
    kind: str
    header: Header = field(default_factory=dict)
    blob: bytes = b""

    def encode(self) -> tuple[bytes, bytes]:
        """What comes before the blob, and the blob."""
        header = json.dumps({**self.header, "kind": self.kind}).encode()
        return _LENGTHS.pack(len(header), len(self.blob)) + header, self.blob


class Frames:
    """Frames out of pieces of a stream, as they come."""

    def __init__(self) -> None:
        self._held = bytearray()

    def feed(self, piece: bytes) -> Iterator[Frame]:
        """Raises BrokenFrameError."""
        self._held += piece
        while len(self._held) >= _LENGTHS.size:
            header, blob = _LENGTHS.unpack_from(self._held)
            if header > MAX_HEADER or blob > MAX_BLOB:
                raise BrokenFrameError(f"a frame of {header} and {blob} bytes")
            begin, end = _LENGTHS.size + header, _LENGTHS.size + header + blob
            if len(self._held) < end:
                return
            found = _frame(bytes(self._held[_LENGTHS.size : begin]), bytes(memoryview(self._held)[begin:end]))
            del self._held[:end]
            yield found


def _frame(header: bytes, blob: bytes) -> Frame:
    try:
        fields = json.loads(header)
        kind = fields.pop("kind")
    except (ValueError, RecursionError, AttributeError, KeyError, TypeError) as error:
        raise BrokenFrameError("a header that is no object of JSON with a kind") from error
    if not isinstance(kind, str):
        raise BrokenFrameError("a kind that is no text")
    return Frame(kind, fields, blob)


def send(line: socket.socket, frame: Frame) -> None:
    """Waits until all of it is taken."""
    head, blob = frame.encode()
    line.sendall(head)
    if blob:
        line.sendall(blob)


def receive(line: socket.socket) -> bytes:
    return line.recv(_PIECE)


def frame_of(message: Message | Outcome | Cause) -> Frame:
    """A message of the loop as a frame."""
    match message:
        case Saved(model=model, state=state):
            fields = {"step": message.step, "val_loss": message.val_loss, "is_best": message.is_best}
            fields |= {"model_bytes": len(model), "has_state": state is not None}
            return Frame("saved", fields, model + (state or b""))
        case Metric(at=at):
            return Frame("metric", {**asdict(message), "at": at.isoformat()})
        case _:
            return Frame(_KINDS[type(message)], asdict(message))


class _Told(BaseModel):
    model_config = ConfigDict(extra="forbid", strict=True, allow_inf_nan=False)


class _Metric(_Told):
    name: str
    step: int = Field(ge=0)
    value: float
    at: str = Field(max_length=64)


class _Event(_Told):
    type: Literal["progress", "warning"]
    message: str = Field(max_length=4000)
    data: dict[str, str | int | float | None] = Field(max_length=16)
    level: Literal["info", "warning", "error"]


class _WarpUse(_Told):
    step: int = Field(ge=0)
    version: int | None
    source: Literal["data"] | None


class _Saved(_Told):
    step: int = Field(ge=0)
    val_loss: float | None
    is_best: bool
    model_bytes: int = Field(ge=0)
    has_state: bool


class _Progress(_Told):
    step: int = Field(ge=0)
    eta_s: float | None


class _Outcome(_Told):
    step: int = Field(ge=0)
    seconds: float = Field(ge=0)
    stopped: Literal["cancel", "pause", "preempt", "timeout", "lost"] | None
    final: dict[str, int | float] | None = Field(max_length=8)
    best: dict[str, int | float] | None = Field(max_length=8)
    version: int | None


class _Cause(_Told):
    category: Literal["user", "infrastructure"]
    code: str = Field(max_length=64, pattern="^[a-z_]+$")
    message: str = Field(max_length=6000)


_KINDS: dict[type, str] = {
    Event: "event", WarpUse: "warp", Progress: "progress", Outcome: "ended", Cause: "failed"
}  # fmt: skip
_PLAIN: dict[str, tuple[type[_Told], type]] = {
    "event": (_Event, Event),
    "warp": (_WarpUse, WarpUse),
    "progress": (_Progress, Progress),
    "ended": (_Outcome, Outcome),
    "failed": (_Cause, Cause),
}


def note_of(frame: Frame, steps: int) -> "Message | Outcome | Cause | None":
    """The message in a frame, of a job of so many steps; None for a metric that is not finite.

    Raises BrokenFrameError for anything that the loop does not tell.
    """
    try:
        found = _note_of(frame)
    except ValidationError as error:
        raise BrokenFrameError(f"{frame.kind}: {error.errors()[0]['msg']}") from None
    if getattr(found, "step", 0) > steps:
        raise BrokenFrameError(f"{frame.kind} of a step beyond the job's {steps}")
    return found


def _note_of(frame: Frame) -> "Message | Outcome | Cause | None":
    if frame.kind == "metric":
        value = frame.header.get("value")
        if isinstance(value, float) and not math.isfinite(value):
            return None
        told = _Metric.model_validate(frame.header)
        if told.name not in METRICS:
            raise BrokenFrameError(f"a metric named {told.name[:50]!r}")
        return Metric(told.name, told.step, told.value, _time(told.at))
    if frame.kind == "saved":
        saved = _Saved.model_validate(frame.header)
        if saved.model_bytes > len(frame.blob):
            raise BrokenFrameError("a checkpoint shorter than it says")
        model, state = frame.blob[: saved.model_bytes], frame.blob[saved.model_bytes :]
        return Saved(saved.step, model, state if saved.has_state else None, saved.val_loss, saved.is_best)
    if frame.kind not in _PLAIN:
        raise BrokenFrameError(f"a frame of the kind {frame.kind[:50]!r}")
    shape, kind = _PLAIN[frame.kind]
    fields = shape.model_validate(frame.header).model_dump()
    if "message" in fields:
        fields["message"] = plain(fields["message"])
    made: Message | Outcome | Cause = kind(**fields)
    return made


def plain(text: str) -> str:
    """Without what a terminal would obey; lines stay lines."""
    return "".join(character if character.isprintable() or character in "\n\t" else "\ufffd" for character in text)


def _time(text: str) -> datetime:
    try:
        found = datetime.fromisoformat(text)
    except ValueError as error:
        raise BrokenFrameError("a time that is none") from error
    if found.tzinfo is None:
        raise BrokenFrameError("a time without a zone")
    return found
