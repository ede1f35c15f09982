"""`client.keys`, `audit`, `webhooks`: who may do what, who did it, and who is told."""

from collections.abc import AsyncIterator, Sequence
from datetime import datetime

from warpadam.sdk.collections import Collection
from warpadam.sdk.connection import given, segment
from warpadam.sdk.decode import decode
from warpadam.sdk.models import AuditRecord, Key, Webhook
from warpadam.sdk.modes import M, call, each
from warpadam.sdk.pages import pages


class Keys(Collection[M]):
    @call
    async def create(self, name: str = "", *, scopes: Sequence[str], expires_at: datetime | None = None) -> Key:
        """Makes a key of one's own project; the service shows its `secret` this once and keeps only a hash of it.

        `expires_at` is an aware datetime; without it the key never expires.
        """
        expires = expires_at.isoformat() if expires_at else None
        body = {"name": name, "scopes": list(scopes)} | given(expires_at=expires)
        return decode(Key, await self._connection.json("POST", "/v1/keys", body=body))

    @call
    async def get(self, key_id: str) -> Key:
        return decode(Key, await self._connection.json("GET", f"/v1/keys/{segment(key_id)}"))

    @each
    async def list(self) -> AsyncIterator[Key]:
        """Newest first, without those that were revoked."""
        async for key in pages(self._connection, "/v1/keys", Key):
            yield key

    @call
    async def delete(self, key_id: str) -> None:
        """Revokes it at once."""
        await self._connection.json("DELETE", f"/v1/keys/{segment(key_id)}")


class Audit(Collection[M]):
    @each
    async def list(self) -> AsyncIterator[AuditRecord]:
        """Every change to what the service keeps, newest first."""
        async for record in pages(self._connection, "/v1/audit", AuditRecord):
            yield record


class Webhooks(Collection[M]):
    @call
    async def create(self, url: str, *, events: Sequence[str] | None = None) -> Webhook:
        """Has the service send these types of events (all, where none are named) to `url`, signed."""
        body = {"url": url} | given(events=None if events is None else list(events))
        return decode(Webhook, await self._connection.json("POST", "/v1/webhooks", body=body))

    @each
    async def list(self) -> AsyncIterator[Webhook]:
        async for webhook in pages(self._connection, "/v1/webhooks", Webhook):
            yield webhook

    @call
    async def delete(self, webhook_id: str) -> None:
        await self._connection.json("DELETE", f"/v1/webhooks/{segment(webhook_id)}")
