"""`python -m workers`: settings → dispatcher, until SIGTERM or SIGINT."""

import logging
import os
import signal
import sys
import threading
from functools import partial

from service.db.session import Database
from service.rotation import keep_small
from service.settings import SECRETS, Settings
from service.storage import Storage
from workers import courier
from workers.cluster import RayPool
from workers.dispatcher import Dispatcher
from workers.housekeeping import keep_house
from workers.launchers import Launcher, ProcessLauncher
from workers.matching import matcher
from workers.meta.actor import ask_learner, end_learner, ensure_learner, notice_weights, restart_learner
from workers.meta.pulse import Pulse
from workers.ray_jobs import RayJobsLauncher


def public_variables() -> dict[str, str]:
    """The settings in this process's environment that any worker may see."""
    names = {f"WARPADAM_{name.upper()}" for name in Settings.model_fields.keys() - SECRETS}
    return {name: os.environ[name] for name in sorted(names & os.environ.keys())}


def launcher_of(settings: Settings) -> Launcher:
    """Raises ValueError where the settings name none, or not all that it needs."""
    if settings.launcher == "process":
        return ProcessLauncher(settings.data_dir / "logs", warm=settings.warm_runner, frozen_s=settings.lease_s)
    if settings.launcher == "ray-jobs":
        if not settings.ray_dashboard_url:
            raise ValueError("WARPADAM_LAUNCHER=ray-jobs needs WARPADAM_RAY_DASHBOARD_URL: where the Jobs API answers")
        if settings.secrets_dir is None:
            raise ValueError(
                "WARPADAM_LAUNCHER=ray-jobs needs WARPADAM_SECRETS_DIR: a folder, here and on Ray's head, with "
                "warpadam_database_url in it. What travels through Ray is read by every worker, so passwords do not."
            )
        return RayJobsLauncher(settings.ray_dashboard_url, public_variables(), settings.grace_s)
    raise ValueError(f"WARPADAM_LAUNCHER is {settings.launcher}: it must be process or ray-jobs")


def main() -> int:
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(levelname)s %(message)s")
    settings = Settings()
    keep_small(settings.data_dir / "logs" / "dispatcher.log", settings.max_service_log_bytes)
    if not settings.ray_address:
        sys.stderr.write("error: set WARPADAM_RAY_ADDRESS to host:port of the Ray cluster's head\n")
        return 2
    try:
        launcher = launcher_of(settings)
    except ValueError as error:
        sys.stderr.write(f"error: {error}\n")
        return 2
    stop = threading.Event()

    def listen() -> None:
        for number in (signal.SIGTERM, signal.SIGINT):
            signal.signal(number, lambda *_: stop.set())

    listen()
    database = Database(settings.database, settings.database_limits)
    house = keep_house(database, Storage(settings.storage), settings, stop)
    telling = courier.start(settings, database, stop)
    matching = matcher.start(settings, database, stop)
    pool = RayPool(
        settings,
        partial(ensure_learner, settings),
        partial(end_learner, settings),
        partial(notice_weights, settings),
        pulse=Pulse(partial(ask_learner, settings)),
        restart_learner=partial(restart_learner, settings),
    )
    Dispatcher(settings, database, launcher, pool).run(stop, listen)
    pool.close()
    for thread in (house, telling, matching):
        thread.join(timeout=5)
    database.dispose()
    return 0


if __name__ == "__main__":
    sys.exit(main())
