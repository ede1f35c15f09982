"""Between the training loop and the runner: messages out, a stop in. The loop's side never waits.

One worker in the runner's process posts into an `Inbox`. Workers elsewhere post to a `Mailbox`, an actor around an
inbox, which the runner owns (it dies with it) and which also hands out the plan. Workers hold no credentials. The actor
is a process too: this module loads without torch, so that it is there at once.
"""

import threading
import time
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol, TypeVar, cast

import ray
from ray.exceptions import ActorDiedError, ActorUnavailableError, RaySystemError
from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy

from workers.failures import Cause, WorkersLostError
from workers.reporting import Message, Outcome, Stop

if TYPE_CHECKING:
    from workers.plan import Plan

T = TypeVar("T")
R = TypeVar("R")

ANSWER_S, SILENCE_S = 2.0, 30.0
"""A beat waits this long for the mailbox; who says nothing for so long is lost."""
CLOSE_S = 30.0
"""A worker waits at most this long until its last words have arrived."""
FLUSH_S = 0.1
"""A worker elsewhere sends what it has to tell this often, and hears then whether to stop."""


@dataclass(frozen=True)
class Ended:
    """The leader's last word."""

    outcome: Outcome


@dataclass(frozen=True)
class Failed:
    """The last word of a worker that cannot go on."""

    rank: int
    cause: Cause


Note = Message | Ended | Failed


class Source(Protocol):
    """The runner's side."""

    def drain(self) -> list[Note]:
        """What arrived since the last call, in order."""
        ...

    def tell(self, stop: Stop) -> None:
        """Asks the loop to stop; the first reason stands."""
        ...


class Inbox:
    """Both sides in one process. Safe to use from several threads."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._notes: list[Note] = []
        self._stop: Stop | None = None

    def post(self, message: Note) -> None:
        with self._lock:
            self._notes.append(message)

    def stop(self) -> Stop | None:
        return self._stop

    def drain(self) -> list[Note]:
        with self._lock:
            notes, self._notes = self._notes, []
        return notes

    def tell(self, stop: Stop) -> None:
        self._stop = self._stop or stop


class Mailbox:
    """An inbox as a Ray actor; see `open_mailbox`."""

    def __init__(self, plan: "list[ray.ObjectRef[Plan]]") -> None:
        self._inbox, self._plan = Inbox(), plan

    def plan(self) -> "list[ray.ObjectRef[Plan]]":
        """A list, so that only the reference travels through this actor."""
        return self._plan

    def post(self, notes: Sequence[Note]) -> Stop | None:
        for note in notes:
            self._inbox.post(note)
        return self._inbox.stop()

    def drain(self) -> list[Note]:
        return self._inbox.drain()

    def tell(self, stop: Stop) -> None:
        self._inbox.tell(stop)


class Handle(Protocol):
    """A mailbox's actor as its callers use it; Ray's own type says nothing of an actor's methods."""

    plan: "_Remote[list[ray.ObjectRef[Plan]]]"
    post: "_Remote[Stop | None]"
    drain: "_Remote[list[Note]]"
    tell: "_Remote[None]"


class _Remote(Protocol[R]):
    def remote(self, *arguments: object) -> "ray.ObjectRef[R]": ...


def open_mailbox(plan: "Plan") -> Handle:
    """A mailbox that hands out this plan, on the caller's node: it ends when the caller's process does, and not when
    a worker's node does."""
    here = NodeAffinitySchedulingStrategy(ray.get_runtime_context().get_node_id(), soft=False)
    return cast(Handle, ray.remote(Mailbox).options(num_cpus=0, scheduling_strategy=here).remote([ray.put(plan)]))


def read_plan(mailbox: Handle) -> "Plan":
    return fetch(fetch(mailbox.plan.remote())[0])


def fetch(reference: "ray.ObjectRef[T]") -> T:
    """`ray.get` of one reference, with its type."""
    return ray.get([reference])[0]


class MailboxSource:
    """The runner's side of a mailbox. Its death, or a long silence of it, is that of the workers."""

    def __init__(self, mailbox: Handle, silence_s: float = SILENCE_S) -> None:
        self._mailbox, self._silence_s = mailbox, silence_s
        self._reply: ray.ObjectRef[list[Note]] | None = None
        self._heard = time.monotonic()

    def drain(self) -> list[Note]:
        """Raises WorkersLostError. An answer that is late is not lost: the next call has it."""
        try:
            self._reply = self._reply or self._mailbox.drain.remote()
            ready, _ = ray.wait([self._reply], timeout=ANSWER_S)
            if not ready:
                return self._silent("no answer")
            notes = fetch(self._reply)
        except (ActorDiedError, ActorUnavailableError, RaySystemError) as error:
            self._reply = None
            return self._silent(str(error).splitlines()[0], dead=isinstance(error, ActorDiedError))
        self._reply, self._heard = None, time.monotonic()
        return notes

    def _silent(self, why: str, *, dead: bool = False) -> list[Note]:
        if dead or time.monotonic() - self._heard > self._silence_s:
            raise WorkersLostError(f"the workers cannot be reached any more: {why}")
        return []

    def tell(self, stop: Stop) -> None:
        self._mailbox.tell.remote(stop)


class MailboxReporter:
    """A worker's side of a mailbox: posts in batches, one under way at a time."""

    def __init__(self, mailbox: Handle) -> None:
        self._mailbox = mailbox
        self._notes: list[Note] = []
        self._reply: ray.ObjectRef[Stop | None] | None = None
        self._sent_at = 0.0
        self._stop: Stop | None = None

    def post(self, message: Note) -> None:
        self._notes.append(message)

    def stop(self) -> Stop | None:
        now = time.monotonic()
        if now - self._sent_at >= FLUSH_S and self._answered(timeout_s=0):
            self._send()
            self._sent_at = now
        return self._stop

    def close(self) -> None:
        """Waits until everything that was posted has arrived, or the runner is gone."""
        if self._answered(timeout_s=CLOSE_S):
            self._send()
            self._answered(timeout_s=CLOSE_S)

    def _send(self) -> None:
        self._reply = self._mailbox.post.remote(self._notes)
        self._notes = []

    def _answered(self, timeout_s: float) -> bool:
        if self._reply is not None:
            ready, _ = ray.wait([self._reply], timeout=timeout_s)
            if not ready:
                return False
            self._stop = fetch(self._reply) or self._stop
            self._reply = None
        return True
