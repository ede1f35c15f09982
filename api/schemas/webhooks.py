"""Webhooks and their deliveries."""

from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field

from api.schemas.common import Answer, Json, Time
from service.db import models
from service.events import Type
from service.outbound.guard import MAX_URL
from service.spec_parts import Bool

_EXAMPLE: Json = {
    "id": "wh_01kq3v5n8w6y2d4f7h9k1m3p5r",
    "object": "webhook",
    "url": "https://example.com/warpadam",
    "events": ["job.state", "end"],
    "enabled": True,
    "disabled_reason": None,
    "last_delivery": {"at": "2026-01-31T12:00:00.000Z", "status": 200, "error": None},
    "created_at": "2026-01-31T11:00:00.000Z",
}


class WebhookCreate(BaseModel):
    model_config = ConfigDict(
        extra="forbid",
        json_schema_extra={"example": {"url": "https://example.com/warpadam", "events": ["job.state", "end"]}},
    )

    url: Annotated[str, Field(min_length=1, max_length=MAX_URL)]
    events: Annotated[list[Type] | None, Field(description="Types of events; null: all.", min_length=1)] = None


class WebhookUpdate(BaseModel):
    """What is absent stays as it is."""

    model_config = ConfigDict(extra="forbid", json_schema_extra={"example": {"events": None, "enabled": True}})

    url: Annotated[str, Field(min_length=1, max_length=MAX_URL)] = ""
    events: Annotated[list[Type] | None, Field(description="Types of events; null: all.", min_length=1)] = None
    enabled: Annotated[Bool, Field(description="False: nothing more is sent, and what was to be sent is given up.")] = (
        True
    )

    def given(self) -> dict[str, Any]:
        """What is to change, as `service.webhooks.update` takes it."""
        sent = self.model_fields_set
        return {
            "url": self.url if "url" in sent else None,
            "types": (self.events or ()) if "events" in sent else None,
            "enabled": self.enabled if "enabled" in sent else None,
        }


class LastDelivery(Answer):
    at: Time
    status: int | None
    """What was answered; null: nothing was."""
    error: str | None


class Webhook(Answer):
    model_config = ConfigDict(json_schema_extra={"example": _EXAMPLE})

    id: str
    object: Literal["webhook"] = "webhook"
    url: str
    events: list[str]
    """Empty: all."""
    enabled: bool
    disabled_reason: str | None
    last_delivery: LastDelivery | None
    created_at: Time

    @classmethod
    def of(cls, row: models.Webhook) -> "Webhook":
        return cls.model_validate(_fields(row))


class NewWebhook(Webhook):
    """What POST answers, at its making and where the secret is changed: the only time that it is shown."""

    model_config = ConfigDict(json_schema_extra={"example": {**_EXAMPLE, "secret": "whsec_…", "last_delivery": None}})

    secret: str | None
    """Null where the answer is repeated for an Idempotency-Key."""

    @classmethod
    def with_secret(cls, row: models.Webhook, secret: str | None) -> "NewWebhook":
        return cls.model_validate({**_fields(row), "secret": secret})


def _fields(row: models.Webhook) -> dict[str, object]:
    names = ("id", "url", "events", "enabled", "disabled_reason", "created_at")
    at = row.last_delivery_at
    last = LastDelivery(at=at, status=row.last_status, error=row.last_error) if at else None
    return {**{name: getattr(row, name) for name in names}, "last_delivery": last}


class Delivery(Answer):
    model_config = ConfigDict(
        json_schema_extra={
            "example": {
                "id": "dlv_01kq3v5n8w6y2d4f7h9k1m3p5r",
                "object": "webhook_delivery",
                "event_id": "evt_01kq3v5n8w6y2d4f7h9k1m3p5r",
                "event_type": "job.state",
                "state": "pending",
                "attempts": 1,
                "next_attempt_at": "2026-01-31T12:00:15.000Z",
                "last_status": 503,
                "last_error": "it answered 503",
                "created_at": "2026-01-31T12:00:00.000Z",
                "finished_at": None,
            }
        }
    )

    id: str
    object: Literal["webhook_delivery"] = "webhook_delivery"
    event_id: str
    event_type: str
    state: Literal["pending", "delivered", "failed"]
    attempts: int
    next_attempt_at: Time | None
    last_status: int | None
    last_error: str | None
    created_at: Time
    finished_at: Time | None

    @classmethod
    def of(cls, row: models.Delivery) -> "Delivery":
        names = ("id", "event_id", "event_type", "state", "attempts", "last_status", "last_error")
        times = {"created_at": row.created_at, "finished_at": row.finished_at}
        next_at = row.due_at if row.state == "pending" else None
        return cls.model_validate({**{name: getattr(row, name) for name in names}, **times, "next_attempt_at": next_at})
