"""A short way for what is asked most often: a job, by a request with nothing unusual about it.

It gives what the route gives, without the framework's own work for each request: handlers of errors, stacks of
contexts, dependencies. Every other request takes the long way: the router, and the route that OpenAPI describes.
"""

import re

from starlette.types import ASGIApp, Receive, Scope, Send

from api import errors
from api.deps import Services
from api.routes import jobs as routes
from service import jobs
from service.access import Caller

_JOB = re.compile(r"/v1/jobs/(job_[0-9a-hjkmnp-tv-z]{26})")
_BODY = frozenset({b"content-type", b"content-length", b"transfer-encoding"})
"""Headers of a request that has a body: what is in it is not for here to judge."""


class ShortWay:
    """ASGI middleware, the innermost one of ours: who asks is known, and has not asked too often."""

    def __init__(self, app: ASGIApp) -> None:
        self.app = app
        self._route = next(route for route in routes.router.routes if getattr(route, "name", "") == "get_job")

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        asked = _JOB.fullmatch(scope["path"]) if scope["type"] == "http" and scope["method"] == "GET" else None
        if asked is None or not _is_plain(scope):
            await self.app(scope, receive, send)
            return
        scope["route"] = self._route  # what requests are counted by
        services: Services = scope["app"].state.services
        caller: Caller = scope["state"]["caller"]
        try:
            text = await services.jobs.get((caller.project, asked[1]))
            if text is None:
                raise jobs.no_job(asked[1])
        except Exception as error:
            told = errors.known(error)
            if told is None:
                raise
            await errors.answer(scope, told)(scope, receive, send)
        else:
            headers = [(b"content-length", b"%d" % len(text)), (b"content-type", b"application/json")]
            await send({"type": "http.response.start", "status": 200, "headers": headers})
            await send({"type": "http.response.body", "body": text})


def _is_plain(scope: Scope) -> bool:
    """Whether all that is asked stands in the path, by somebody who may."""
    if scope["query_string"] or not scope["state"]["caller"].may("jobs:read"):
        return False
    return not any(name in _BODY for name, _ in scope["headers"])
