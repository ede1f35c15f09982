"""Lists of the service, page after page."""

from collections.abc import Iterator

from warpadam.transport import Json, Params, Transport


def iterate(transport: Transport, path: str, params: Params | None = None) -> Iterator[Json]:
    """Every object of a list; the next page is asked for when it is needed."""
    query = dict(params or {})
    while True:
        page = transport.json("GET", path, params=query)
        yield from page["data"]
        if not page["has_more"]:
            return
        query["after"] = page["next_cursor"]
