"""`python -m benchmarks.api.bare PORT FILE`: a FastAPI app that does nothing but send the bytes of a file, as JSON.

It runs on uvicorn with the settings of `python -m api`: what remains between the two is what our service does.
"""

import sys
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
    port, file = int(sys.argv[1]), Path(sys.argv[2])
    uvicorn.run(
        create_app(file.read_bytes()),
        host="127.0.0.1",
        port=port,
        timeout_graceful_shutdown=SHUTDOWN_S,
        access_log=False,
        server_header=False,
        proxy_headers=False,
        log_config=None,
    )


if __name__ == "__main__":
    main()
