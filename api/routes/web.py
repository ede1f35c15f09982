"""The web page and the API's own documentation: files of this package, nothing from elsewhere."""

from pathlib import Path

from fastapi import APIRouter
from fastapi.responses import FileResponse

router = APIRouter(include_in_schema=False)

STATIC = Path(__file__).parents[1] / "static"

POLICY = (
    "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' data:; connect-src 'self'; "
    "base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
)
_HEADERS = {
    "Content-Security-Policy": POLICY,
    "Referrer-Policy": "no-referrer",
    "X-Frame-Options": "DENY",
    "Cache-Control": "no-cache",
}
_FILES = {
    "/": "index.html",
    "/docs": "docs.html",
    "/static/style.css": "style.css",
    "/static/app.js": "app.js",
    "/static/parts.js": "parts.js",
    "/static/docs.js": "docs.js",
    "/static/events.js": "events.js",
    "/favicon.svg": "favicon.svg",
}


def _serve(path: str, name: str) -> None:
    @router.api_route(path, methods=["GET", "HEAD"], name=name)
    def page() -> FileResponse:
        return FileResponse(STATIC / name, headers=_HEADERS)


for _path, _name in _FILES.items():
    _serve(_path, _name)
