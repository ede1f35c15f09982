"""`python -m benchmarks.api.bare`: a FastAPI app that does nothing but send the bytes of a file, as JSON.

It runs on uvicorn with the settings of `python -m api`: what remains between the two is what our service does.
"""

import os
from pathlib import Path

import uvicorn
from fastapi import FastAPI, Response

from api.__main__ import SHUTDOWN_S


def create_app(body: bytes) -> FastAPI:
    app = FastAPI()

    @app.get("/v1/jobs/{job_id}")
    async def get_job(job_id: str) -> Response:
        del job_id
        return Response(body, media_type="application/json")

    return app


def main() -> None:
    uvicorn.run(
        create_app(Path(os.environ["WARPADAM_BARE_FILE"]).read_bytes()),
        host="127.0.0.1",
        port=int(os.environ["WARPADAM_PORT"]),
        timeout_graceful_shutdown=SHUTDOWN_S,
        access_log=False,
        server_header=False,
        proxy_headers=False,
        log_config=None,
    )


if __name__ == "__main__":
    main()
