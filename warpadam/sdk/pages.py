"""Lists of the service, page after page."""

from collections.abc import AsyncIterator
from typing import TypeVar

from warpadam.sdk.connection import Connection, Params
from warpadam.sdk.decode import decode

T = TypeVar("T")


async def pages(connection: Connection, path: str, kind: type[T], params: Params | None = None) -> AsyncIterator[T]:
    """Every object of a list; the next page is asked for when it is needed."""
    query = {"limit": 100, **(params or {})}
    while True:
        page = await connection.json("GET", path, params=query)
        for content in page["data"]:
            yield decode(kind, content)
        if not page["has_more"]:
            return
        query["after"] = page["next_cursor"]
