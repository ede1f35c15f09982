"""Whose failure it is: an error that user code raised is told with its own frames of the traceback, never with ours.

In the process that runs user code whatever goes wrong is the code's, but for peers that are lost: it may have changed
anything there.
"""

import traceback
from pathlib import Path

from workers.failures import OUT_OF_MEMORY, Cause, TrainingError, classify, is_lost_peer

MOST_FRAMES, MOST_TEXT = 12, 1000


class CodeError(TrainingError):
    """User code, or what it made, cannot be used. The message says what to change."""

    code = "code_failed"


class ExitedError(CodeError):
    code = "code_exited"


class BadModelError(CodeError):
    code = "bad_model"


def frames(error: BaseException, folder: Path) -> list[str]:
    """The frames of the error's traceback that lie in the package, outermost first, with paths relative to it."""
    found = []
    for frame in traceback.extract_tb(error.__traceback__):
        path = Path(frame.filename)
        if path.is_relative_to(folder):
            line = f"\n    {frame.line.strip()[:200]}" if frame.line else ""
            found.append(f'  File "{path.relative_to(folder)}", line {frame.lineno}, in {frame.name}{line}')
    if len(found) > MOST_FRAMES:
        return [*found[: MOST_FRAMES // 2], "  …", *found[-MOST_FRAMES // 2 :]]
    return found


def told(error: BaseException, folder: Path) -> str | None:
    """The error as its author should see it; None where none of its frames are his."""
    theirs = frames(error, folder)
    if isinstance(error, SyntaxError) and error.filename and Path(error.filename).is_relative_to(folder):
        theirs.append(f'  File "{Path(error.filename).relative_to(folder)}", line {error.lineno}')
    if not theirs:
        return None
    text = str(error).replace(f"{folder}/", "")
    return "\n".join([f"{type(error).__name__}: {text[:MOST_TEXT]}", "Traceback of your code:", *theirs])


def cause_of(error: BaseException, folder: Path) -> Cause:
    """Why a run with user code failed."""
    if isinstance(error, TrainingError):
        return error.cause
    theirs = told(error, folder)
    if isinstance(error, SystemExit):
        where = f"\n{theirs}" if theirs else ""
        return ExitedError(f"Your code called sys.exit({error.code!r:.50}): return, or raise an error.{where}").cause
    if isinstance(error, KeyboardInterrupt | GeneratorExit):
        return CodeError(f"Your code raised {type(error).__name__}.").cause
    known = classify(error)
    if known.code == "out_of_memory":
        return Cause("user", "out_of_memory", OUT_OF_MEMORY if theirs is None else f"{OUT_OF_MEMORY}\n{theirs}")
    if is_lost_peer(error):
        return known
    if theirs is None:  # a module of torch's own that was put together wrongly, say
        text = f"{type(error).__name__}: {str(error)[:MOST_TEXT]}"
        theirs = f"{text}\n(raised outside the files of your package, by what it made or called)"
    return CodeError(f"Your code failed. {theirs}").cause
