"""This process as a driver on the service's Ray.

A driver whose head is gone for a minute is ended by Ray, and one that asks another head under the same address fails a
check of Ray's and dies: whoever is to outlive the head leaves Ray as soon as the port is silent, and joins again
(`KeptJoined`). `ray.init` puts its own handler of SIGTERM into the process, from whatever thread: `keeping_sigterm`
puts ours back.
"""

import ctypes
import logging
import signal
import socket
import threading
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager, suppress
from typing import Protocol

import ray

from service.errors import Unavailable
from service.settings import Settings

log = logging.getLogger(__name__)

LOOK_S = 0.5
PROBE_S = 2.0
CLOSE_S = 5.0


class Connection(Protocol):
    """Ray, for whoever waits for its answers. What was got before `generation` grew belongs to a Ray that is gone."""

    @property
    def generation(self) -> int: ...

    def use(self) -> AbstractContextManager[bool]:
        """Whether Ray may be called within; it is not left meanwhile, so calls must be short."""
        ...


class Steady:
    """Ray as this process has joined it: a worker on Ray ends with its node, and joins nothing by itself."""

    generation = 0

    @contextmanager
    def use(self) -> Iterator[bool]:
        yield True


class KeptJoined:
    """Joins the cluster that the settings name, and again after its head was lost. Nothing here is waited for."""

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        self._lock = threading.Lock()
        self._joined = ray.is_initialized()
        self._generation = 0
        self._over = threading.Event()
        self._thread = threading.Thread(target=self._run, name="ray-connection", daemon=True)
        self._thread.start()

    @property
    def generation(self) -> int:
        return self._generation

    @contextmanager
    def use(self) -> Iterator[bool]:
        with self._lock:
            yield self._joined

    def close(self) -> bool:
        """Ends the watch, and stays joined; whether Ray is as it was at the beginning."""
        self._over.set()
        self._thread.join(CLOSE_S)
        return not self._thread.is_alive() and self._joined and self._generation == 0

    def _run(self) -> None:
        while not self._over.is_set():
            there = answers(self._settings.ray_address)
            if self._joined and not there:
                self._leave()
            elif there and not self._joined:
                self._join()
            self._over.wait(LOOK_S)

    def _leave(self) -> None:
        log.warning("the head of Ray at %s is lost: joining again when it is back", self._settings.ray_address)
        with self._lock:
            self._joined = False
            self._generation += 1
            with suppress(Exception):  # there may be nobody left to say goodbye to
                ray.shutdown()

    def _join(self) -> None:
        try:
            connect(self._settings)
        except Exception as error:  # whatever Ray raises means one thing: it is not there yet
            log.warning("could not join Ray at %s: %s", self._settings.ray_address, error)
            with suppress(Exception):
                ray.shutdown()
        else:
            self._joined = True


def answers(address: str) -> bool:
    """Whether somebody listens at `host:port`. A head that is only slow does; a dead one's port refuses."""
    host, _, port = address.rpartition(":")
    try:
        socket.create_connection((host, int(port)), timeout=PROBE_S).close()
    except TimeoutError:
        return True
    except OSError:
        return False
    return True


def connect(settings: Settings) -> None:
    """Joins the cluster that the settings name, once; never one by chance. Keeps the handler of SIGTERM."""
    if ray.is_initialized():
        return
    if not settings.ray_address:
        raise Unavailable("WARPADAM_RAY_ADDRESS is not set: name the cluster's GCS as host:port")
    with keeping_sigterm():
        ray.init(
            address=settings.ray_address,
            namespace=settings.ray_namespace,
            log_to_driver=False,
            logging_level=logging.WARNING,
        )


@contextmanager
def keeping_sigterm() -> Iterator[None]:
    """Puts the process's handler of SIGTERM back afterwards; works in any thread, which `signal.signal` does not."""
    in_main = threading.current_thread() is threading.main_thread()
    handler = signal.getsignal(signal.SIGTERM) if in_main else None
    number = int(signal.SIGTERM)
    get, put = ctypes.pythonapi.PyOS_getsig, ctypes.pythonapi.PyOS_setsig
    get.restype = put.restype = ctypes.c_void_p
    get.argtypes, put.argtypes = [ctypes.c_int], [ctypes.c_int, ctypes.c_void_p]
    before = get(number)
    try:
        yield
    finally:
        put(number, before)
        if in_main:
            signal.signal(signal.SIGTERM, handler)
