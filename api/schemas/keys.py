"""Keys, and the log of who changed what."""

from datetime import datetime
from typing import Annotated, Literal

from pydantic import AwareDatetime, BaseModel, BeforeValidator, ConfigDict, Field

from api.schemas.common import Answer, Json, Time, shown
from service.access import Scope
from service.db import models
from service.keys import MAX_NAME


def _only_text(value: object) -> object:
    if not isinstance(value, str):
        raise ValueError("write it as 2027-01-01T00:00:00Z")
    return value


Moment = Annotated[AwareDatetime, BeforeValidator(_only_text)]
"""A time in a request: no number of seconds."""


class KeyCreate(BaseModel):
    model_config = ConfigDict(
        extra="forbid", json_schema_extra={"example": {"name": "ci", "scopes": ["jobs:read", "jobs:write"]}}
    )

    name: Annotated[str, Field(max_length=MAX_NAME)] = ""
    scopes: Annotated[list[Scope], Field(min_length=1)]
    expires_at: Annotated[Moment | None, Field(description="Null: never.")] = None


_EXAMPLE: Json = {
    "id": "key_01kq3v5n8w6y2d4f7h9k1m3p5r",
    "object": "key",
    "name": "laptop",
    "project": "default",
    "scopes": ["jobs:read", "jobs:write"],
    "created_at": "2026-01-31T12:00:00.000Z",
    "expires_at": None,
    "last_used_at": None,
}


class Key(Answer):
    model_config = shown(_EXAMPLE)

    id: str
    object: Literal["key"] = "key"
    name: str
    project: str
    scopes: list[Scope]
    created_at: Time
    expires_at: Time | None
    last_used_at: Time | None
    """Within a minute."""

    @classmethod
    def of(cls, row: models.ApiKey) -> "Key":
        return cls.model_validate(_fields(row))


class NewKey(Key):
    """What POST answers: the only time that the secret is shown."""

    model_config = shown({**_EXAMPLE, "secret": "wa_…"})

    secret: str | None
    """Null where the answer is repeated for an Idempotency-Key: the secret was not stored."""

    @classmethod
    def with_secret(cls, row: models.ApiKey, secret: str | None) -> "NewKey":
        return cls.model_validate({**_fields(row), "secret": secret})


def _fields(row: models.ApiKey) -> dict[str, str | list[str] | datetime | None]:
    names = ("id", "name", "project", "scopes", "created_at", "expires_at", "last_used_at")
    return {name: getattr(row, name) for name in names}


class AuditRecord(Answer):
    model_config = ConfigDict(
        json_schema_extra={
            "example": {
                "id": "aud_01kq3v5n8w6y2d4f7h9k1m3p5r",
                "object": "audit_record",
                "actor": "key_01kq3v5n8w6y2d4f7h9k1m3p5r",
                "action": "alias.set",
                "target": "patches@champion",
                "data": {"version": 6},
                "address": "192.0.2.7",
                "request_id": "req_01kq3v5n8w6y2d4f7h9k1m3p5r",
                "created_at": "2026-01-31T12:00:00.000Z",
            }
        }
    )

    id: str
    object: Literal["audit_record"] = "audit_record"
    actor: str
    """A key's id; `loopback` where none was needed; `command` for the server's own command line."""
    action: str
    target: str
    data: Json
    address: str
    request_id: str
    created_at: Time

    @classmethod
    def of(cls, row: models.AuditRecord) -> "AuditRecord":
        names = ("id", "actor", "action", "target", "data", "address", "request_id", "created_at")
        return cls.model_validate({name: getattr(row, name) for name in names})
