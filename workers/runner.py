"""`python -m workers.runner`: runs one attempt of one job, and records how it ended.

    --job JOB --attempt N --token T     runs that attempt
    --wait                              gets ready, then runs the attempts that lines on stdin name (workers/waiting.py)

It exits with 0 whenever an outcome is recorded, and with 1 where none is: the attempt was lost, as the dispatcher will
say. SIGTERM means that the machine needs the place: the loop saves where it is, and another attempt goes on. Whoever
loses the lease ends quietly; what it still wanted to write is not written.
"""

import argparse
import logging
import os
import signal
import sys
import time
from collections.abc import Callable
from contextlib import nullcontext
from pathlib import Path
from types import FrameType
from typing import TypeVar

from service.attempts import Fence, LostLease
from service.db.outages import patiently
from service.settings import Settings
from workers.book import Book
from workers.failures import Cause, WorkersLostError, classify
from workers.fitting import fit_for, last_word, trains_here
from workers.loading import Memory, load
from workers.mailbox import Ended, Failed, Inbox
from workers.output import Output
from workers.oversight import Oversight
from workers.plan import Plan
from workers.ray_connection import connect
from workers.recorder import Recorder
from workers.regroup import Regroup, start_step
from workers.reporting import Outcome
from workers.scratch import scratch
from workers.waiting import Ran, wait_for_attempts

T = TypeVar("T")

log = logging.getLogger(__name__)

RECORDED, LOST = 0, 1
LAST_WORDS_S, FAILED_WORDS_S = 10.0, 1.0
"""The last words of workers that have ended are waited for so long: after an error there may be none."""


class Runner:
    """One attempt, from its row to its outcome."""

    def __init__(
        self,
        memory: Memory,
        fence: Fence,
        output: Output | None = None,
        leave: Callable[[int], None] | None = None,
    ) -> None:
        """`output`: what this process prints, which is kept with the job.

        `leave` ends this process with a code: for where the loop does not hear.
        """
        self._memory, self._fence, self._leave = memory, fence, leave or leave_now
        self._book = Book(memory, fence, output)
        settings = memory.settings
        self._oversight = Oversight(settings.grace_s, settings.stall_s, time.monotonic())
        self._recorder = Recorder(self._book, Inbox(), settings.heartbeat_s, self._oversight, self._end_now)
        self.leaves_no_trace = False
        """Whether this process is as it was: the attempt ended as it should, and used no workers but itself."""

    def stop(self) -> None:
        """Asks the attempt to end because its machine does; safe in a signal handler."""
        self._recorder.ask("preempt")

    def run(self) -> int:
        """The exit code."""
        self._recorder.start()
        try:
            ending = self._attempt()
            self._book.finish(ending)
        except LostLease as error:
            log.warning("%s", error)
            return LOST
        finally:
            self._recorder.close()
            self._book.close()
        return RECORDED

    def _end_now(self, ending: Outcome | Cause) -> None:
        """From the heartbeat's thread, where the main one does not hear; what it leaves is the launcher's to end."""
        code = RECORDED
        try:
            stopped = ending.stopped if isinstance(ending, Outcome) else None
            if stopped == "lost":
                code = LOST
            else:
                if stopped != "cancel":  # else somebody goes on from the checkpoint that is being stored
                    self._recorder.save(self._memory.settings.grace_s)
                self._book.finish(ending)
        except Exception:
            log.exception("how the attempt ended was not recorded")
            code = LOST
        self._leave(code)

    def _attempt(self) -> Outcome | Cause:
        """How it ended; everything that was told is written then."""
        try:
            plan = self._patiently(lambda: load(self._memory, self._fence))
            if (early := self._recorder.asked) is not None:
                return Outcome(start_step(plan), 0.0, stopped=early)
            ending = self._train(plan)
        except LostLease:
            raise
        except Exception as error:
            log.exception("the attempt failed")
            ending = classify(error)
        try:
            self._patiently(self._recorder.drain)
        except LostLease:
            raise
        except Exception as error:
            log.exception("what the attempt told could not be recorded")
            return classify(error)
        return ending

    def _train(self, plan: Plan) -> Outcome | Cause:
        """How the workers ended: one group, or of an elastic job one after the other."""
        regroup = Regroup(self._memory, self._fence, plan)
        while True:
            ending = self._fit(plan)
            following = regroup.after(ending, self._book.newest, lambda: self._recorder.asked)
            if not isinstance(following, Plan):
                return following
            log.info("%d workers go on from step %d: %s", following.workers, start_step(following), ending)
            plan = following

    def _patiently(self, work: Callable[[], T]) -> T:
        """What the attempt cannot go on without waits for a database that is away; beats are tried again anyway."""
        return patiently(work, self._memory.settings.database_patience_s)

    def _fit(self, plan: Plan) -> Outcome | Cause:
        """How one group of workers ended."""
        failure = None
        try:
            self._run_fit(plan)
        except LostLease:
            raise
        except Exception as error:
            log.exception("the workers ended with an error")
            failure = classify(error)
        words = self._recorder.hear_out(LAST_WORDS_S if failure is None else FAILED_WORDS_S)
        return self._ending(words, failure)

    def _run_fit(self, plan: Plan) -> None:
        settings = self._memory.settings
        here = trains_here(plan, settings)
        if not here:
            _join(settings)
        with nullcontext(Path()) if here else scratch() as folder:
            fit = fit_for(plan, settings, folder)
            if plan.group == 0:
                self._book.begin(plan, start_step(plan))
            else:
                self._book.go_on(plan)
            self._recorder.listen(fit.source)
            self._oversight.needs_begin, self._oversight.runs_code = not here, plan.runs_code
            fit.run()
        self.leaves_no_trace = fit.leaves_no_trace

    def _ending(self, words: "list[Ended | Failed]", failure: Cause | None) -> Outcome | Cause:
        """The workers' own last words go before what their end looked like from here."""
        word = last_word(words)
        if isinstance(word, Cause):
            return word
        if failure is not None:
            return failure
        if word is None:
            return WorkersLostError("the workers ended without a word: see the log of this attempt").cause
        return word.outcome


def _join(settings: Settings) -> None:
    """Whatever Ray says where it cannot be joined, the job's description is not the cause."""
    try:
        connect(settings)
    except Exception as error:
        raise WorkersLostError(f"Ray could not be joined: {error}") from error


def get_ready(settings: Settings) -> Memory:
    """All that does not depend on the job: imports, connections, and a step of each kind of model."""
    from workers.warm import train_a_little

    memory = Memory.of(settings)
    with memory.database.read() as session:
        session.connection()
    if settings.ray_address:
        connect(settings)
    train_a_little()
    return memory


def main(arguments: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="python -m workers.runner", description="Runs one attempt of one job.")
    parser.add_argument("--wait", action="store_true", help="get ready, then read the attempt from stdin")
    parser.add_argument("--job")
    parser.add_argument("--attempt", type=int)
    parser.add_argument("--token", type=int)
    options = parser.parse_args(arguments)
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(levelname)s %(name)s: %(message)s")
    if options.wait:
        memory = get_ready(Settings())
        return wait_for_attempts(lambda told: run_attempt(memory, Fence(told.job, told.attempt, told.token)))
    if None in (options.job, options.attempt, options.token):
        parser.error("give --job, --attempt and --token, or --wait")
    fence = Fence(options.job, options.attempt, options.token)
    return run_attempt(Memory.of(Settings()), fence).code


def run_attempt(memory: Memory, fence: Fence) -> Ran:
    runner = Runner(memory, fence, Output.of_this_process())
    _on_sigterm(runner)
    code = runner.run()
    return Ran(code, runner.leaves_no_trace)


def _on_sigterm(runner: Runner) -> None:
    def handler(_signal: int, _frame: FrameType | None) -> None:
        runner.stop()

    signal.signal(signal.SIGTERM, handler)


def leave_now(code: int) -> None:
    """Ends this process. The front door waits seconds for Ray's and torch's threads, and there is nothing to save."""
    logging.shutdown()
    sys.stdout.flush()
    os._exit(code)


if __name__ == "__main__":
    leave_now(main())
