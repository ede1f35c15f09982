"""What a worker takes from the process below it: its own loop's messages, unchanged, and nothing else."""

import json
import struct
from datetime import UTC, datetime
from typing import Any

import pytest

from workers.code.frames import BrokenFrameError, Frame, Frames, frame_of, note_of
from workers.code.prints import BURST, PER_S, Prints
from workers.failures import Cause
from workers.reporting import Event, Message, Metric, Outcome, Progress, Saved, WarpUse

NOTES: list[Message | Outcome | Cause] = [
    Metric("val_loss", 3, 0.5, datetime.now(UTC)),
    Event("progress", "step 3", {"step": 3, "of": 9, "val_loss": 0.5}),
    WarpUse(0, 4, None),
    WarpUse(0, None, "data"),
    Progress(3, None),
    Saved(3, b"model", b"state", 0.5, is_best=True),
    Saved(3, b"model", None, None, is_best=False),
    Outcome(9, 1.5, None, {"val_loss": 0.5}, {"val_loss": 0.5, "step": 3}, None),
    Cause("user", "code_failed", "why"),
]


def stream(*frames: Frame) -> bytes:
    return b"".join(b"".join(frame.encode()) for frame in frames)


@pytest.mark.parametrize("note", NOTES)
def test_what_the_loop_tells_arrives_as_it_was(note: Message | Outcome | Cause) -> None:
    (frame,) = Frames().feed(stream(frame_of(note)))
    assert note_of(frame, steps=9) == note


def test_frames_come_in_pieces_of_any_size() -> None:
    data, frames = stream(*map(frame_of, NOTES)), Frames()
    found = [frame for index in range(len(data)) for frame in frames.feed(data[index : index + 1])]
    assert [note_of(frame, 9) for frame in found] == NOTES


def forged(kind: str, **header: Any) -> Frame:
    return Frame(kind, header)


METRIC = {"name": "val_loss", "step": 1, "value": 1.0, "at": "2026-01-01T00:00:00+00:00"}


@pytest.mark.parametrize(
    "frame",
    [
        forged("nonsense"),
        forged("metric", **{**METRIC, "name": "anything"}),
        forged("metric", **{**METRIC, "step": 10}),
        forged("metric", **{**METRIC, "step": -1}),
        forged("metric", **{**METRIC, "step": "1"}),
        forged("metric", **{**METRIC, "value": "1"}),
        forged("metric", **{**METRIC, "at": "yesterday"}),
        forged("metric", **{**METRIC, "at": "2026-01-01T00:00:00"}),
        forged("metric", **METRIC, more=1),
        forged("event", type="job.state", message="x", data={}, level="info"),
        forged("event", type="warning", message="x" * 5000, data={}, level="info"),
        forged("event", type="warning", message="x", data={"a": {}}, level="info"),
        forged("saved", step=1, val_loss=None, is_best=False, model_bytes=9, has_state=False),
        forged("failed", category="preemption", code="x", message="x"),
        forged("failed", category="user", code="Not a code", message="x"),
        forged("ended", step=9, seconds=-1.0, stopped=None, final=None, best=None, version=None),
    ],
)
def test_nothing_else_does(frame: Frame) -> None:
    with pytest.raises(BrokenFrameError):
        note_of(frame, steps=9)


def test_words_of_it_cannot_play_with_a_terminal() -> None:
    note = note_of(forged("failed", category="user", code="code_failed", message="a\nb\x1b]0;c\x07"), 9)
    assert note == Cause("user", "code_failed", "a\nb\ufffd]0;c\ufffd")


def test_numbers_that_are_none_are_dropped() -> None:
    assert note_of(forged("metric", **{**METRIC, "value": float("nan")}), 9) is None


@pytest.mark.parametrize("header", [b"{", b"[]", b"{}", b'{"kind": 3}', b"[" * 2000, json.dumps("x").encode()])
def test_what_is_no_frame_ends_it(header: bytes) -> None:
    with pytest.raises(BrokenFrameError):
        list(Frames().feed(struct.pack("!IQ", len(header), 0) + header))


def test_sizes_are_judged_before_anything_is_held() -> None:
    for lengths in ((2**31, 0), (1, 2**50)):
        with pytest.raises(BrokenFrameError):
            list(Frames().feed(struct.pack("!IQ", *lengths)))


def test_prints_are_whole_lines_without_what_a_terminal_obeys() -> None:
    told: list[str] = []
    prints = Prints(1, told.append, lambda: 0.0)
    prints.feed(b"a\x1b[31mb\ttab\nhalf")
    prints.feed(b" a line\n\xff\nrest")
    prints.close()
    assert "".join(told) == (
        "worker 1 | a\ufffd[31mb\ttab\nworker 1 | half a line\nworker 1 | \ufffd\nworker 1 | rest\n"
    )


def test_a_flood_of_prints_is_dropped_and_its_size_told() -> None:
    told: list[str] = []
    now = [0.0]
    prints = Prints(0, told.append, lambda: now[0])
    for _ in range(10):
        prints.feed(b"x" * (BURST // 4 - 1) + b"\n")
    now[0] = 2.0
    prints.feed(b"y" * PER_S + b"\n")
    assert f"… {6 * BURST // 4} bytes of what the code printed were not kept" in told[-1]
    assert sum(map(len, told)) < BURST * 1.5
