"""`python -m api`: the HTTP server as a process of its own, with settings from `WARPADAM_*`."""

import gc
import logging
import sys

import uvicorn

from api import slow
from api.app import create_app
from service.bind import RefusesToStart, always_wants_keys
from service.rotation import keep_small
from service.settings import Settings

log = logging.getLogger(__name__)

SHUTDOWN_S = 3
"""Seconds that open requests get after SIGTERM; event streams end at once."""


def main() -> int:
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(levelname)s %(name)s: %(message)s")
    settings = Settings()
    keep_small(settings.data_dir / "logs" / "api.log", settings.max_service_log_bytes)
    try:
        app = create_app(settings)
    except RefusesToStart as error:
        print(error, file=sys.stderr)  # noqa: T201 - the way to tell whoever started it
        return 2
    _say_who_may(settings)
    gc.collect()
    gc.freeze()  # what is there for good need not be looked through by every full collection
    uvicorn.run(
        app,
        host=settings.host,
        port=settings.port,
        timeout_graceful_shutdown=SHUTDOWN_S,
        http=slow.Protocol,
        access_log=False,
        server_header=False,
        proxy_headers=bool(settings.trusted_proxies),
        forwarded_allow_ips=settings.trusted_proxies or None,
        log_config=None,
    )
    return 0


def _say_who_may(settings: Settings) -> None:
    if always_wants_keys(settings):
        log.info("every request needs a key")
    elif settings.auth == "off":
        log.info("no key is needed: this service answers to this machine only")
    else:
        log.info("no key is needed until the first is made: this service answers to this machine only")


if __name__ == "__main__":
    sys.exit(main())
