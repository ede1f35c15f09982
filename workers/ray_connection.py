"""This process as a driver on the service's Ray."""

import logging
import signal
import threading

import ray

from service.errors import Unavailable
from service.settings import Settings


def connect(settings: Settings) -> None:
    """Joins the cluster that the settings name, once; never one by chance. Keeps the handler of SIGTERM."""
    if ray.is_initialized():
        return
    if not settings.ray_address:
        raise Unavailable("WARPADAM_RAY_ADDRESS is not set: name the cluster's GCS as host:port")
    in_main = threading.current_thread() is threading.main_thread()
    handler = signal.getsignal(signal.SIGTERM) if in_main else None
    ray.init(
        address=settings.ray_address,
        namespace=settings.ray_namespace,
        log_to_driver=False,
        logging_level=logging.WARNING,
    )
    if in_main:
        signal.signal(signal.SIGTERM, handler)
