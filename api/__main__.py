"""`python -m api`: the HTTP server as a process of its own, with settings from `WARPADAM_*`."""

import logging
import sys

import uvicorn

from api.app import create_app
from api.guard import RefusesToStart
from service.settings import Settings

SHUTDOWN_S = 3
"""Seconds that open requests get after SIGTERM; event streams end at once."""


def main() -> int:
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(levelname)s %(name)s: %(message)s")
    settings = Settings()
    try:
        app = create_app(settings)
    except RefusesToStart as error:
        print(error, file=sys.stderr)  # noqa: T201 - the way to tell whoever started it
        return 2
    uvicorn.run(
        app,
        host=settings.host,
        port=settings.port,
        timeout_graceful_shutdown=SHUTDOWN_S,
        access_log=False,
        server_header=False,
        proxy_headers=False,
        log_config=None,
    )
    return 0


if __name__ == "__main__":
    sys.exit(main())
