"""What handlers ask for: the services, who asks, a session, a page. Handlers stay 5 to 15 lines by these.

A handler learns the project from its caller only, and gets a caller only by naming the scope that he must have:
`caller: JobsRead`. So no route can forget either, and the OpenAPI description says it.
"""

import re
from collections import Counter
from collections.abc import AsyncIterator
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Annotated
from urllib.parse import unquote

from fastapi import Depends, Query, Request, Security
from fastapi.security import HTTPBearer, SecurityScopes
from sqlalchemy.orm import Session
from starlette.datastructures import Headers

from api.access import Access
from api.ended import Texts
from api.errors import HttpError
from api.hub import Hubs
from api.inspector import InspectorThread
from api.kept import KeptFiles
from api.together import Together
from service.access import SCOPES, Caller
from service.db.session import Database
from service.errors import FieldError, InvalidRequest
from service.jobs import Place
from service.pages import DEFAULT_LIMIT, MAX_LIMIT, PageRequest
from service.settings import Settings
from service.storage import Storage

_SUSPECT = re.compile(rb"\\u(0000|[dD][89a-fA-F])")
JSON = "application/json"
_UNSTORABLE = re.compile("[\0\ud800-\udfff]")


@dataclass(frozen=True)
class Services:
    """What the process was built with; handlers get it, nothing is global."""

    settings: Settings
    database: Database
    storage: Storage
    access: Access = field(init=False)
    hubs: Hubs = field(init=False, default_factory=Hubs)
    inspector: InspectorThread = field(init=False)
    kept: KeptFiles = field(init=False)
    jobs: Together[Place, bytes] = field(init=False)
    """Their JSON."""

    def __post_init__(self) -> None:
        object.__setattr__(self, "access", Access(self.settings, self.database))
        folder, most = self.settings.data_dir / "kept", self.settings.keep_warps_bytes
        object.__setattr__(self, "kept", KeptFiles(folder, most))
        object.__setattr__(self, "jobs", Together(Texts(self.database).read))
        object.__setattr__(self, "inspector", InspectorThread(self.settings, self.database, self.storage))


def services_of(request: Request) -> Services:
    services = request.app.state.services
    assert isinstance(services, Services)
    return services


async def _services(request: Request) -> Services:
    return services_of(request)


ServicesDep = Annotated[Services, Depends(_services)]


async def get_caller(request: Request) -> Caller:
    """Who asks, as the guard found him, whatever he may."""
    caller = request.scope["state"]["caller"]
    assert isinstance(caller, Caller)
    return caller


class _Key(HTTPBearer):
    """The scheme, as OpenAPI describes it, and the check of what a key may: one dependency, because each one costs."""

    async def __call__(self, request: Request, needed: SecurityScopes) -> Caller:  # type: ignore[override]
        """Raises Forbidden (`missing_scope`), and what `read_strictly` does."""
        await read_strictly(request)
        caller = await get_caller(request)
        for scope in SCOPES:
            if scope in needed.scopes:
                caller.require(scope)
        return caller


_authorized = _Key(
    scheme_name="key",
    auto_error=False,
    description="`Authorization: Bearer wa_…`. A service on loopback that has no keys needs none.",
)
CallerDep = Annotated[Caller, Depends(get_caller)]
JobsRead = Annotated[Caller, Security(_authorized, scopes=["jobs:read"])]
JobsWrite = Annotated[Caller, Security(_authorized, scopes=["jobs:write"])]
DatasetsRead = Annotated[Caller, Security(_authorized, scopes=["datasets:read"])]
DatasetsWrite = Annotated[Caller, Security(_authorized, scopes=["datasets:write"])]
WarpsRead = Annotated[Caller, Security(_authorized, scopes=["warps:read"])]
WarpsWrite = Annotated[Caller, Security(_authorized, scopes=["warps:write"])]
Matching = Annotated[Caller, Security(_authorized, scopes=["jobs:write", "warps:read"])]
"""It uses the cluster, and tells of families."""
Admin = Annotated[Caller, Security(_authorized, scopes=["admin"])]


async def _session(services: ServicesDep) -> AsyncIterator[Session]:
    """Not in a thread: to open it does nothing yet, and to close one that has read needs no trip to the database."""
    with services.database.read() as session:
        yield session


# "function": the session is closed before the answer is sent, so that a slow reader holds no connection.
ReadSession = Annotated[Session, Depends(_session, scope="function")]


_LIMIT = f"At most this many; larger than {MAX_LIMIT} means {MAX_LIMIT}."


async def _page(
    limit: Annotated[int, Query(description=_LIMIT, json_schema_extra={"minimum": 1})] = DEFAULT_LIMIT,
    after: Annotated[str | None, Query(description="The `next_cursor` of the page before.")] = None,
) -> PageRequest:
    return PageRequest(min(limit, MAX_LIMIT), after)


PageDep = Annotated[PageRequest, Depends(_page)]


async def read_strictly(request: Request) -> None:
    """What holds for every request; who asks for a caller has asked for it, because each dependency costs."""
    await refuse_media_type(request)
    await refuse_unstorable(request)
    await refuse_unknown(request)


def media_type(headers: Headers) -> str:
    return headers.get("content-type", "").split(";")[0].strip().lower()


async def refuse_media_type(request: Request) -> None:
    """Raises HttpError 415 for a body of a type that the route does not take; of one that takes none, JSON is ignored.

    A form that a foreign page sends is no JSON, and a page needs our leave, which nobody gets, to send anything else.
    """
    headers = request.headers
    has_body = headers.get("content-length", "0") != "0" or "transfer-encoding" in headers
    if not has_body or request.method not in ("POST", "PUT", "PATCH"):
        return
    taken: frozenset[str] = request.app.state.media_types.get(_operation(request)) or frozenset({JSON})
    if media_type(headers) in taken:
        return
    said = ["JSON with Content-Type: application/json"] if JSON in taken else []
    files = sorted(taken - {JSON})
    said += [f"a file as {' or '.join(files)}"] if files else []
    raise HttpError(415, f"Send {', or '.join(said)}.")


async def refuse_unknown(request: Request) -> None:
    """Requests are read strictly: raises InvalidRequest for a query parameter that a described route does not have, and
    for one that comes twice where only one is meant: who knows which."""
    known = _query_parameters(request) if request.scope["query_string"] else None
    if known is None:
        return
    given = Counter(name for name, _ in request.query_params.multi_items())
    unknown = [
        FieldError(name, "unknown_field", "unknown parameter") for name in given if _filter_name(name) not in known
    ]
    twice = [
        FieldError(name, "repeated_field", "given more than once")
        for name, times in given.items()
        if times > 1 and not known.get(_filter_name(name), True)
    ]
    if unknown or twice:
        raise InvalidRequest.of(unknown + twice)


async def refuse_unstorable(request: Request) -> None:
    """InvalidRequest for text with U+0000 (PostgreSQL cannot hold it) or half a surrogate pair (UTF-8 cannot)."""
    texts: list[str] = [request.scope["path"], unquote(request.scope["query_string"].decode("latin-1"))]
    is_json = media_type(request.headers) == JSON
    if is_json and _SUSPECT.search(await request.body()):
        with suppress(ValueError, RecursionError):  # what is no JSON is told of where it is read
            texts += _strings(await request.json())
    if any(_UNSTORABLE.search(text) for text in texts):
        raise InvalidRequest("Text may not contain the character U+0000, or half of a surrogate pair.")


def _strings(value: object) -> list[str]:
    """All text in a JSON value, keys too."""
    found, rest = [], [value]
    while rest:
        each = rest.pop()
        if isinstance(each, str):
            found.append(each)
        elif isinstance(each, dict):
            rest += [*each.keys(), *each.values()]
        elif isinstance(each, list):
            rest += each
    return found


def _query_parameters(request: Request) -> dict[str, bool] | None:
    """The query parameters of the request's route, from the OpenAPI description, which is made from it; whether each
    may come repeatedly. None for what is not described: the web page."""
    known: dict[tuple[str, str], dict[str, bool]] = request.app.state.query_parameters
    return known.get(_operation(request))


def _operation(request: Request) -> tuple[str, str]:
    """Path and method of the request's route, as the OpenAPI document has them."""
    method = "get" if request.method == "HEAD" else request.method.lower()
    return request.scope["route"].path_format, method


def _filter_name(name: str) -> str:
    """`metadata[owner]` is the filter `metadata`."""
    return name.partition("[")[0] if name.endswith("]") else name
