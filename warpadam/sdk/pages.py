"""Lists of the service, page after page."""

from collections.abc import Iterator

from warpadam.sdk.connection import Connection, Json, Params


def iterate(connection: Connection, path: str, params: Params | None = None) -> Iterator[Json]:
    """Every object of a list; the next page is asked for when it is needed."""
    query = dict(params or {})
    while True:
        page = connection.json("GET", path, params=query)
        yield from page["data"]
        if not page["has_more"]:
            return
        query["after"] = page["next_cursor"]
