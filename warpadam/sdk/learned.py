"""`client.families`, `warps`, `starts`, `aliases`: what jobs taught, and which of it is in use."""

import os
from collections.abc import AsyncIterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, Generic, Unpack

from warpadam.sdk.collections import Collection
from warpadam.sdk.connection import Connection, given, segment
from warpadam.sdk.decode import decode
from warpadam.sdk.downloading import Content, download, fetch_bytes
from warpadam.sdk.matching import F, match_from
from warpadam.sdk.models import Alias, AliasChange, Contribution, Family, StartVersion, WarpVersion
from warpadam.sdk.modes import M, call, each
from warpadam.sdk.pages import pages
from warpadam.sdk.progress import transfer_progress
from warpadam.sdk.spec import MatchFields

if TYPE_CHECKING:
    from warpadam.warp import Warp


def _family(name: str) -> str:
    return f"/v1/families/{segment(name)}"


class Families(Collection[M], Generic[M, F]):
    def __init__(self, connection: Connection, kind: type[F]) -> None:
        super().__init__(connection)
        self._kind = kind

    @call
    async def match(self, spec: Mapping[str, Any] | None = None, /, **fields: Unpack[MatchFields]) -> F:
        """Has it measured which families' P suit some data and a model: `match(…).wait().result`."""
        body = {**(spec or {}), **fields}
        content = await self._connection.json("POST", "/v1/families/match", body=body)
        return match_from(self._kind, content, self._connection)

    @call
    async def get_match(self, match_id: str) -> F:
        content = await self._connection.json("GET", f"/v1/families/matches/{segment(match_id)}")
        return match_from(self._kind, content, self._connection)

    @call
    async def create(
        self,
        name: str,
        *,
        description: str | None = None,
        promotion: str | None = None,
        starts: bool | None = None,
        start_step: float | None = None,
    ) -> Family:
        """`promotion`: latest, guarded or manual. A job makes its own family on first use."""
        fields = given(description=description, promotion=promotion, starts=starts, start_step=start_step)
        body = {"name": name} | fields
        return decode(Family, await self._connection.json("POST", "/v1/families", body=body))

    @call
    async def get(self, name: str) -> Family:
        return decode(Family, await self._connection.json("GET", _family(name)))

    @each
    async def list(self) -> AsyncIterator[Family]:
        """Newest first."""
        async for family in pages(self._connection, "/v1/families", Family):
            yield family

    @call
    async def update(
        self,
        name: str,
        *,
        description: str | None = None,
        promotion: str | None = None,
        starts: bool | None = None,
        start_step: float | None = None,
    ) -> Family:
        """Changes what is given."""
        body = given(description=description, promotion=promotion, starts=starts, start_step=start_step)
        return decode(Family, await self._connection.json("PATCH", _family(name), body=body))

    @call
    async def delete(self, name: str) -> None:
        """Hides a family none of whose jobs is unfinished."""
        await self._connection.json("DELETE", _family(name))

    @each
    async def contributions(self, name: str) -> AsyncIterator[Contribution]:
        """The ledger, oldest first."""
        async for contribution in pages(self._connection, f"{_family(name)}/contributions", Contribution):
            yield contribution


class Warps(Collection[M]):
    """A reference is `family`, `family@7` or `family@alias`; the champion where only the family is named."""

    @each
    async def list(self, family: str) -> AsyncIterator[WarpVersion]:
        """Newest first."""
        async for version in pages(self._connection, f"{_family(family)}/warps", WarpVersion):
            yield version

    @call
    async def get(self, reference: str) -> WarpVersion:
        return await self._get(reference)

    @call
    async def pull(self, reference: str) -> "Warp":
        """The P itself, ready for WarpAdam. Needs torch."""
        from warpadam.warp import Warp

        return Warp.from_bytes(await self._content(reference))

    @call
    async def content(self, reference: str) -> bytes:
        """The P's file; its sha256 is checked against what the service says it is."""
        return await self._content(reference)

    @call
    async def download(self, reference: str, path: str | os.PathLike[str], *, progress: bool = False) -> Path:
        """Writes the P's file to `path`: whole and checked, or not at all. What broke off is taken up again."""
        found = await self._get(reference)
        with transfer_progress(Path(path).name, found.size, enabled=progress) as show:
            return await download(self._connection, _file(found), Path(path), show)

    @call
    async def push(self, family: str, path: str | os.PathLike[str]) -> WarpVersion:
        """Uploads a P as the family's next version."""
        content = await self._connection.upload(f"{_family(family)}/warps", {}, Path(path).expanduser())
        return decode(WarpVersion, content)

    async def _get(self, reference: str) -> WarpVersion:
        family, _, version = reference.partition("@")
        path = f"{_family(family)}/warps/{segment(version or 'champion')}"
        return decode(WarpVersion, await self._connection.json("GET", path))

    async def _content(self, reference: str) -> bytes:
        return await fetch_bytes(self._connection, _file(await self._get(reference)))


def _file(version: WarpVersion) -> Content:
    """By its number, which means the same for ever."""
    return Content(f"{_family(version.family)}/warps/{version.version}/content", version.sha256, version.size)


class Starts(Collection[M]):
    """The weights that a family hands out to begin with, by architecture and base."""

    @each
    async def list(self, family: str, *, anchor: str | None = None) -> AsyncIterator[StartVersion]:
        """Newest first."""
        async for version in pages(self._connection, f"{_family(family)}/starts", StartVersion, given(anchor=anchor)):
            yield version

    @call
    async def get(self, family: str, version: int) -> StartVersion:
        return await self._get(family, version)

    @call
    async def download(
        self, family: str, version: int, path: str | os.PathLike[str], *, progress: bool = False
    ) -> Path:
        """Writes the weights to `path` (safetensors): whole and checked, or not at all."""
        found = await self._get(family, version)
        content = Content(f"{_family(family)}/starts/{version}/content", found.sha256, found.size)
        with transfer_progress(Path(path).name, found.size, enabled=progress) as show:
            return await download(self._connection, content, Path(path), show)

    async def _get(self, family: str, version: int) -> StartVersion:
        return decode(StartVersion, await self._connection.json("GET", f"{_family(family)}/starts/{version}"))


class Aliases(Collection[M]):
    """Names for versions: `champion`, `latest`, and one's own."""

    @each
    async def list(self, family: str) -> AsyncIterator[Alias]:
        async for alias in pages(self._connection, f"{_family(family)}/aliases", Alias):
            yield alias

    @call
    async def get(self, family: str, alias: str) -> Alias:
        return decode(Alias, await self._connection.json("GET", _alias(family, alias)))

    @call
    async def set(
        self, family: str, alias: str, version: int, *, reason: str = "", expected: int | None = None
    ) -> Alias:
        """Points an alias to a version; with `expected` only while it still points there, else EtagMismatch."""
        body = {"version": version, "reason": reason}
        return decode(
            Alias,
            await self._connection.json("PUT", _alias(family, alias), body=body, headers=_if_match(expected)),
        )

    @call
    async def delete(self, family: str, alias: str, *, expected: int | None = None) -> None:
        """`champion` and `latest` cannot be deleted."""
        await self._connection.json("DELETE", _alias(family, alias), headers=_if_match(expected))

    @each
    async def history(self, family: str, alias: str) -> AsyncIterator[AliasChange]:
        """Every move, newest first; also of an alias that was deleted."""
        async for change in pages(self._connection, f"{_alias(family, alias)}/history", AliasChange):
            yield change


def _alias(family: str, alias: str) -> str:
    return f"{_family(family)}/aliases/{segment(alias)}"


def _if_match(version: int | None) -> dict[str, str]:
    return {} if version is None else {"If-Match": f'"{version}"'}
