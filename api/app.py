"""The app factory: nothing is built at import, and everything that was built is closed by the lifespan."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import anyio.to_thread
from fastapi import Depends, FastAPI

from api import errors, openapi
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
    matches,
    records,
    starts,
    system,
    warps,
    web,
    webhooks,
)
from api.short import ShortWay
from service import bind
from service.db.session import Database
from service.settings import Settings
from service.storage import Storage


def create_app(settings: Settings, database: Database | None = None, storage: Storage | None = None) -> FastAPI:
    """The HTTP service. What is not given is built from `settings`, and closed at the end.

    Raises RefusesToStart where the settings would open a service without keys to others.
    """
    services = Services(
        settings,
        database or Database(settings.database, settings.database_limits),
        storage or Storage(settings.storage),
    )
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

    app = FastAPI(
        title="WarpAdam",
        version="1",
        docs_url=None,
        redoc_url=None,
        lifespan=lifespan,
        generate_unique_id_function=lambda route: route.name,
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
        matches,  # after the routes of families: one may be called match or matches
        keys,
        audit,
        webhooks,
    ):
        app.include_router(module.router)
    for public in (system, web):  # nobody need be known for them
        app.include_router(public.router, dependencies=[Depends(read_strictly)])
    _describe(app)
    app.state.query_parameters = _query_parameters(app)
    app.state.media_types = _media_types(app)
    errors.install(app)
    app.add_middleware(ShortWay)
    app.add_middleware(Guard)
    app.add_middleware(CountRequests, telemetry=telemetry)
    return app


def _describe(app: FastAPI) -> None:
    """Has the app tell its OpenAPI document, which is made once."""
    made = openapi.document(app)
    app.openapi = lambda: made  # type: ignore[method-assign]


def _query_parameters(app: FastAPI) -> dict[tuple[str, str], dict[str, bool]]:
    """(path, method) → query parameters, as the OpenAPI description has them, and whether each may come repeatedly."""
    return {
        (path, method): {
            each["name"]: each["schema"].get("type") in ("array", "object")
            for each in operation.get("parameters", ())
            if each["in"] == "query"
        }
        for path, method, operation in openapi.operations(app.openapi())
    }


def _media_types(app: FastAPI) -> dict[tuple[str, str], frozenset[str]]:
    """(path, method) → media types of the bodies that it takes."""
    return {
        (path, method): frozenset(operation["requestBody"]["content"])
        for path, method, operation in openapi.operations(app.openapi())
        if "requestBody" in operation
    }
