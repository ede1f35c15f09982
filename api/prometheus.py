"""/metrics: a project's requests to this process, counted here, and what it has, read from the database when asked.

Names of routes, not paths, are labels: their number is bounded whatever clients ask for. Each project has a registry of
its own, so it sees no other's.
"""

import time

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, generate_latest
from prometheus_client.exposition import CONTENT_TYPE_LATEST
from sqlalchemy.orm import Session
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from service import clock, cluster
from service.db import counts
from service.states import JobState


class Requests:
    """The requests of one project."""

    def __init__(self) -> None:
        self.registry = CollectorRegistry()
        self.requests = Counter(
            "warpadam_http_requests", "HTTP requests", ["method", "route", "status"], registry=self.registry
        )
        self.seconds = Histogram(
            "warpadam_http_request_seconds", "Time to the first byte", ["method", "route"], registry=self.registry
        )
        self._found: dict[tuple[str, str, int], tuple[Counter, Histogram]] = {}

    def note(self, method: str, route: str, status: int, seconds: float) -> None:
        """One request. The series are looked up once: labels are checked each time that they are named."""
        found = self._found.get((method, route, status))
        if found is None:
            found = self.requests.labels(method, route, status), self.seconds.labels(method, route)
            self._found[method, route, status] = found
        found[0].inc()
        found[1].observe(seconds)


class Telemetry:
    """The metrics of one app; no registry is shared by processes or tests."""

    content_type = CONTENT_TYPE_LATEST

    def __init__(self) -> None:
        self._requests: dict[str, Requests] = {}

    def of(self, project: str) -> Requests:
        """What is counted for a project; the empty one is for requests that nobody had to be known for."""
        found = self._requests.get(project)
        return found if found is not None else self._requests.setdefault(project, Requests())

    def render(self, session: Session, project: str) -> bytes:
        return generate_latest(self.of(project).registry) + generate_latest(_state(session, project))


class CountRequests:
    """ASGI middleware that counts requests and times them by route."""

    def __init__(self, app: ASGIApp, *, telemetry: Telemetry) -> None:
        self.app = app
        self.telemetry = telemetry

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self.app(scope, receive, send)
            return
        began = time.perf_counter()

        async def send_counted(message: Message) -> None:
            if message["type"] == "http.response.start":
                caller = scope.get("state", {}).get("caller")
                requests = self.telemetry.of(caller.project if caller else "")
                route = getattr(scope.get("route"), "path", "none")
                requests.note(scope["method"], route, message["status"], time.perf_counter() - began)
            await send(message)

        await self.app(scope, receive, send_counted)


def _state(session: Session, project: str) -> CollectorRegistry:
    """What the database knows of the project, and the cluster that all share."""
    registry = CollectorRegistry()
    jobs = Gauge("warpadam_jobs", "Jobs by state", ["state"], registry=registry)
    found = counts.read(session, project)
    for state in JobState:
        jobs.labels(state).set(found.jobs.get(state, 0))
    Gauge("warpadam_families", "Families", registry=registry).set(found.families)
    Gauge("warpadam_contributions_accepted", "Contributions accepted", registry=registry).set(found.contributions)
    Gauge("warpadam_warp_versions", "Versions of P", registry=registry).set(found.warps)
    _cluster(session, registry)
    return registry


def _cluster(session: Session, registry: CollectorRegistry) -> None:
    seen = cluster.seen(session)
    for name, value in (
        ("cpus", seen.cpus),
        ("gpus", seen.gpus),
        ("free_cpus", seen.free_cpus),
        ("free_gpus", seen.free_gpus),
        ("nodes_alive", sum(node.alive for node in seen.nodes)),
    ):
        Gauge(f"warpadam_cluster_{name}", "As the dispatcher last saw it", registry=registry).set(value)
    if seen.at is not None:
        age = Gauge("warpadam_dispatcher_silence_seconds", "Since the dispatcher's last word", registry=registry)
        age.set((clock.now() - seen.at).total_seconds())
