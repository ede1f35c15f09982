"""`client.keys`, `audit`, `webhooks`: who may do what, who did it, and who is told."""

from collections.abc import AsyncIterator, Sequence
from datetime import datetime
from typing import Literal

from warpadam.sdk.collections import Collection
from warpadam.sdk.connection import given, segment
from warpadam.sdk.decode import decode
from warpadam.sdk.models import AuditRecord, Key, Webhook, WebhookDelivery
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

    @call
    async def get(self, webhook_id: str) -> Webhook:
        return decode(Webhook, await self._connection.json("GET", _webhook(webhook_id)))

    @each
    async def list(self) -> AsyncIterator[Webhook]:
        """Newest first."""
        async for webhook in pages(self._connection, "/v1/webhooks", Webhook):
            yield webhook

    @call
    async def update(
        self,
        webhook_id: str,
        *,
        url: str | None = None,
        events: Sequence[str] | Literal["all"] | None = None,
        enabled: bool | None = None,
    ) -> Webhook:
        """Changes what is given; one that is disabled is sent nothing, and starts afresh where it is enabled again."""
        types = {} if events is None else {"events": None if events == "all" else list(events)}
        body = given(url=url, enabled=enabled) | types
        return decode(Webhook, await self._connection.json("PATCH", _webhook(webhook_id), body=body))

    @call
    async def rotate(self, webhook_id: str) -> Webhook:
        """A new `secret`, shown this once; for 24 hours messages are signed by the one before too."""
        return decode(Webhook, await self._connection.json("POST", f"{_webhook(webhook_id)}/rotate"))

    @call
    async def test(self, webhook_id: str) -> WebhookDelivery:
        """Has a message of the type `test` sent; `delivery` says how it went."""
        return decode(WebhookDelivery, await self._connection.json("POST", f"{_webhook(webhook_id)}/test"))

    @each
    async def deliveries(self, webhook_id: str) -> AsyncIterator[WebhookDelivery]:
        """What was sent, and is still to be sent, newest first; for a week after it ended."""
        async for delivery in pages(self._connection, f"{_webhook(webhook_id)}/deliveries", WebhookDelivery):
            yield delivery

    @call
    async def delivery(self, webhook_id: str, delivery_id: str) -> WebhookDelivery:
        path = f"{_webhook(webhook_id)}/deliveries/{segment(delivery_id)}"
        return decode(WebhookDelivery, await self._connection.json("GET", path))

    @call
    async def delete(self, webhook_id: str) -> None:
        await self._connection.json("DELETE", _webhook(webhook_id))


def _webhook(webhook_id: str) -> str:
    return f"/v1/webhooks/{segment(webhook_id)}"
