"""The service about itself: cluster, health, readiness, Prometheus."""

from datetime import timedelta

from fastapi import APIRouter, Request, Response
from sqlalchemy import text
from sqlalchemy.exc import SQLAlchemyError

from api.deps import Admin, JobsRead, ReadSession, Services, ServicesDep
from api.problems import headers
from api.prometheus import Telemetry
from api.schemas.system import Check, Cluster, Health, Readiness
from service import clock, cluster

router = APIRouter(tags=["system"])

DISPATCHER_SILENT_AFTER = timedelta(seconds=15)


@router.get("/v1/cluster")
def get_cluster(session: ReadSession, caller: JobsRead) -> Cluster:
    """The cluster as the dispatcher last saw it, which all projects share, and this project's queue as it is now."""
    return Cluster.of(cluster.seen(session, caller.project))


@router.get("/healthz")
async def get_health(services: ServicesDep) -> Health:
    """This process answers; `auth` says whether it wants a key."""
    wants_keys = await services.access.wants_keys(or_last_known=True)
    return Health(auth="keys" if wants_keys else "none")


@router.get("/readyz", responses={503: {"model": Readiness, "headers": headers("Retry-After")}})
def get_readiness(services: ServicesDep, response: Response) -> Readiness:
    """Whether jobs would run now: database, dispatcher's heartbeat, Ray as the dispatcher last saw it."""
    checks = _checks(services)
    is_ready = all(check.ok for check in checks.values())
    if not is_ready:
        response.status_code = 503
        response.headers["Retry-After"] = "2"
    return Readiness(status="ready" if is_ready else "not_ready", checks=checks)


def _checks(services: Services) -> dict[str, Check]:
    try:
        with services.database.read() as session:
            session.execute(text("SELECT 1"))
            state = cluster.seen(session)
    except SQLAlchemyError:
        return {"database": Check(ok=False, message="does not answer, or has not been upgraded")}
    checks = {"database": Check(ok=True, message="answers")}
    if state.at is None:
        silent = Check(ok=False, message="no dispatcher has been seen")
        return {**checks, "dispatcher": silent, "ray": Check(ok=False, message="not seen yet")}
    age = clock.now() - state.at
    checks["dispatcher"] = Check(ok=age < DISPATCHER_SILENT_AFTER, message=f"last seen {age.total_seconds():.1f} s ago")
    alive = sum(node.alive for node in state.nodes)
    checks["ray"] = Check(ok=alive > 0, message=f"{alive} nodes alive when last seen")
    return checks


@router.get(
    "/metrics",
    response_class=Response,
    responses={200: {"content": {"text/plain": {"schema": {"type": "string"}}}}},
)
def get_prometheus(request: Request, session: ReadSession, caller: Admin) -> Response:
    """For Prometheus to read: the cluster, what the project has, and its requests to this process."""
    telemetry: Telemetry = request.app.state.telemetry
    return Response(telemetry.render(session, caller.project), media_type=telemetry.content_type)
