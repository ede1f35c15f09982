"""The app factory: nothing is built at import, and everything that was built is closed by the lifespan."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import anyio.to_thread
from fastapi import Depends, FastAPI

from api import errors
from api.deps import Services, read_strictly
from api.guard import Guard
from api.prometheus import CountRequests, Telemetry
from api.routes import (
    audit,
    checkpoints,
    datasets,
    families,
    jobs,
    keys,
    logs,
    records,
    starts,
    system,
    warps,
    web,
    webhooks,
)
from api.schemas.common import Problem
from service import bind
from service.db.session import Database
from service.settings import Settings
from service.storage import Storage

DESCRIPTION = (
    "Train with a learned gradient map. Errors are `application/problem+json`; lists are pages; "
    "every POST takes an `Idempotency-Key`."
)


def create_app(settings: Settings, database: Database | None = None, storage: Storage | None = None) -> FastAPI:
    """The HTTP service. What is not given is built from `settings`, and closed at the end.

    Raises RefusesToStart where the settings would open a service without keys to others.
    """
    services = Services(settings, database or Database(settings.database), storage or Storage(settings.storage))
    try:
        bind.check(settings, services.database)
    except bind.RefusesToStart:
        if database is None:
            services.database.dispose()
        raise

    @asynccontextmanager
    async def lifespan(_app: FastAPI) -> AsyncIterator[None]:
        services.inspector.start()
        yield
        await anyio.to_thread.run_sync(services.inspector.stop)
        if database is None:
            services.database.dispose()

    problems: dict[int | str, dict[str, Any]] = {"4XX": {"model": Problem}, "5XX": {"model": Problem}}
    app = FastAPI(
        title="WarpAdam",
        version="1",
        description=DESCRIPTION,
        docs_url=None,
        redoc_url=None,
        lifespan=lifespan,
        responses=problems,
        redirect_slashes=False,
    )
    telemetry = Telemetry()
    app.state.services, app.state.telemetry = services, telemetry
    for module in (
        jobs,
        records,
        logs,
        checkpoints,
        datasets,
        families,
        warps,
        starts,
        keys,
        audit,
        webhooks,
    ):
        app.include_router(module.router)
    for public in (system, web):  # nobody need be known for them
        app.include_router(public.router, dependencies=[Depends(read_strictly)])
    app.state.query_names = _query_names(app)
    errors.install(app)
    app.add_middleware(Guard)
    app.add_middleware(CountRequests, telemetry=telemetry)
    return app


def _query_names(app: FastAPI) -> dict[tuple[str, str], frozenset[str]]:
    """(path, method) → names of the query parameters, as the OpenAPI description has them."""
    return {
        (path, method): frozenset(each["name"] for each in operation.get("parameters", ()) if each["in"] == "query")
        for path, operations in app.openapi()["paths"].items()
        for method, operation in operations.items()
    }
