"""The dispatcher's view of Ray: which nodes there are, and one meta-learner for each family that needs it.

All calls to Ray are made by one thread of its own, because a call to a lost head blocks; the dispatcher only reads the
last view. A driver that loses its head for a minute is killed by Ray, so the thread asks the head's port first, and
where that stays silent it leaves Ray and joins again with backoff. `ray.init` replaces the process's handler of
SIGTERM: the main thread installs its own again and again (`Dispatcher.run`).
"""

import logging
import socket
import threading
import time
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass, replace
from typing import Any, Protocol

from service.settings import Settings
from workers.backoff import backoff
from workers.meta.pulse import Pulse
from workers.policies import Node, idle_learners
from workers.ray_connection import answers

log = logging.getLogger(__name__)

_LOOK_S = 1.0
_ENSURE_S = 5.0
_SILENT_LOOKS = 3
"""So many silent looks in a row mean that the head is lost."""
_FIRST_WAIT_S, _LAST_WAIT_S = 0.25, 3.0


@dataclass(frozen=True, slots=True)
class View:
    """What was last seen. `nodes` are those of the last connection while there is none."""

    nodes: tuple[Node, ...] = ()
    connected: bool = False
    error: str | None = "not connected yet"


class Pool(Protocol):
    def view(self) -> View: ...

    def want_learners(self, families: frozenset[int]) -> None:
        """Families that have contributing jobs now: each gets its meta-learner, others lose theirs when idle."""
        ...

    def notice_weights(self, families: frozenset[int]) -> None:
        """Families whose jobs' final weights wait at present: their meta-learners are told."""
        ...

    def close(self) -> None: ...


class RayPool:
    """Joins the cluster at `settings.ray_address`, and stays joined."""

    def __init__(
        self,
        settings: Settings,
        ensure_learner: Callable[[int], object],
        end_learner: Callable[[int], object],
        tell_learner: Callable[[int], object] = lambda _family: None,
        *,
        pulse: Pulse | None = None,
        restart_learner: Callable[[int], object] = lambda _family: None,
    ) -> None:
        """All take a family's id; `ensure_learner` makes its actor where there is none. None of them waits."""
        self._settings = settings
        self._ensure_learner = ensure_learner
        self._end_learner = end_learner
        self._tell_learner = tell_learner
        self._pulse, self._restart_learner = pulse, restart_learner
        self._view = View()
        self._wanted: frozenset[int] = frozenset()
        self._last_active: dict[int, float] = {}
        self._ensured: dict[int, float] = {}
        self._weights: frozenset[int] = frozenset()
        self._told: dict[int, float] = {}
        self._wake = threading.Event()
        self._closing = threading.Event()
        self._thread = threading.Thread(target=self._run, name="ray-pool", daemon=True)
        self._thread.start()

    def view(self) -> View:
        return self._view

    def want_learners(self, families: frozenset[int]) -> None:
        if families - self._wanted:
            self._wake.set()
        self._wanted = families

    def notice_weights(self, families: frozenset[int]) -> None:
        if families - self._weights:
            self._wake.set()
        self._weights = families

    def close(self) -> None:
        self._closing.set()
        self._wake.set()
        self._thread.join(timeout=10)

    def _run(self) -> None:
        silent = failures = 0
        while not self._closing.is_set():
            try:
                self._probe()
                if not self._view.connected:
                    self._join()
                self._look()
                silent = failures = 0
            except Exception as error:  # whatever Ray raises here means one thing: there is no cluster to work with
                # Who asks another head under the same address dies at a check of Ray's: a port that refuses is enough.
                silent = _SILENT_LOOKS if isinstance(error, ConnectionError) else silent + 1
                if not self._view.connected or silent >= _SILENT_LOOKS:
                    failures += 1
                    self._leave(error)
            wait = _LOOK_S if self._view.connected else backoff(failures, _FIRST_WAIT_S, _LAST_WAIT_S)
            self._wake.wait(wait)
            self._wake.clear()
        self._leave(None)

    def _probe(self) -> None:
        host, _, port = self._settings.ray_address.rpartition(":")
        try:
            socket.create_connection((host, int(port)), timeout=2).close()
        except TimeoutError:
            raise
        except OSError as error:
            raise ConnectionError(f"no answer from Ray at {self._settings.ray_address}: {error}") from error

    def _join(self) -> None:
        import ray

        ray.init(
            address=self._settings.ray_address,
            namespace=self._settings.ray_namespace,
            log_to_driver=False,
            configure_logging=False,
        )
        log.info("joined Ray at %s", self._settings.ray_address)
        self._adopt_learners()

    def _leave(self, error: Exception | None) -> None:
        import ray

        if error is not None and str(error) != self._view.error:
            log.warning("no Ray: %s", error)
        self._view = replace(self._view, connected=False, error=str(error) if error else None)
        self._ensured.clear()
        if self._pulse is not None:
            self._pulse.forget()
        self._told.clear()
        with suppress(Exception):  # there may be nobody left to say goodbye to
            ray.shutdown()

    def _look(self) -> None:
        nodes = [_node(each) for each in _alive()]
        self._view = View(tuple(nodes), connected=True, error=None)
        try:
            self._tend_learners(time.monotonic())
        except Exception:  # the cluster is there all the same; jobs wait for their learner, and it is tried again
            log.exception("a meta-learner could not be made or ended")

    def _adopt_learners(self) -> None:
        """Learners that an earlier dispatcher made become idle from now on, unless wanted."""
        import ray.util

        for name in ray.util.list_named_actors():
            kind, _, family = name.rpartition("-")
            if kind == "learner" and family.isdigit():
                self._last_active.setdefault(int(family), time.monotonic())

    def _tend_learners(self, now: float) -> None:
        for family in self._wanted:
            self._last_active[family] = now
            if now - self._ensured.get(family, -_ENSURE_S) >= _ENSURE_S:
                self._ensured[family] = now
                self._ensure_learner(family)
        for family in self._pulse.silent(self._wanted) if self._pulse else ():
            log.warning("the meta-learner of family %d does not answer: it is restarted", family)
            self._restart_learner(family)
        self._told = {family: at for family, at in self._told.items() if family in self._weights}
        for family in self._weights:  # again after a while: it may have been restarted meanwhile
            if now - self._told.get(family, -_ENSURE_S) >= _ENSURE_S:
                self._told[family] = now
                self._tell_learner(family)
        for family in idle_learners(self._last_active, now, self._settings.learner_idle_s):
            self._end_learner(family)
            log.info("ended the idle meta-learner of family %d", family)
            del self._last_active[family]
            self._ensured.pop(family, None)


def living_nodes() -> list[Node]:
    """The nodes whose raylet answers, as seen by this driver: Ray itself notices a dead one only after a while."""
    return [_node(each) for each in _alive() if answers(f"{each['NodeManagerAddress']}:{each['NodeManagerPort']}")]


def _alive() -> list[Mapping[str, Any]]:
    """The nodes that Ray takes for alive, as it tells of them."""
    import ray

    return [each for each in ray.nodes() if each["Alive"]]  # type: ignore[no-untyped-call]


def _node(seen: Mapping[str, Any]) -> Node:
    return Node(seen["NodeID"], seen["Resources"].get("CPU", 0.0), seen["Resources"].get("GPU", 0.0))
