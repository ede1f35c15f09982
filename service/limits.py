"""What a project may have, and how fast it may ask for it."""

import math
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from threading import Lock
from typing import Annotated, Any

from pydantic import BaseModel, ConfigDict, Field

from service.errors import RateLimited
from service.settings import Settings

WINDOW_S = 60
"""Of the rate limit: so many requests in this time."""

_Count = Annotated[int, Field(ge=0, le=2**53)]


class Limits(BaseModel):
    """None: no limit. In a project's row only what differs from the server's settings is stored."""

    model_config = ConfigDict(frozen=True, extra="ignore")

    running_jobs: _Count | None = None
    queued_jobs: _Count | None = None
    storage_bytes: _Count | None = None
    gpu_seconds: _Count | None = None
    """In a calendar month (UTC)."""
    requests_per_minute: Annotated[int, Field(ge=1, le=10**9)] | None = None

    @classmethod
    def of(cls, settings: Settings) -> "Limits":
        """What a project has that has none of its own."""
        return cls(
            running_jobs=settings.quota_running_jobs,
            queued_jobs=settings.quota_queued_jobs,
            storage_bytes=settings.quota_storage_bytes,
            gpu_seconds=settings.quota_gpu_seconds,
            requests_per_minute=settings.requests_per_minute or None,
        )

    def with_own(self, own: Mapping[str, Any]) -> "Limits":
        """These, and where a project's row says something else, that."""
        return Limits.model_validate({**self.model_dump(), **own})


@dataclass(frozen=True)
class Rate:
    """How a project stands after a request: `left` of `quota` requests, and the next one is there in `wait_s`."""

    quota: int
    left: int
    wait_s: int


@dataclass
class _Bucket:
    tokens: float
    at: float


@dataclass
class Buckets:
    """Token buckets by project, in this process: each holds a minute's requests, and fills at that rate."""

    clock: Callable[[], float] = time.monotonic
    _buckets: dict[str, _Bucket] = field(default_factory=dict, init=False)
    _lock: Lock = field(default_factory=Lock, init=False)

    def take(self, project: str, quota: int) -> Rate:
        """One request. Raises RateLimited, with the seconds until there is room for the next."""
        now, rate = self.clock(), quota / WINDOW_S
        with self._lock:
            bucket = self._buckets.setdefault(project, _Bucket(quota, now))
            bucket.tokens = min(float(quota), bucket.tokens + (now - bucket.at) * rate)
            bucket.at = now
            if bucket.tokens < 1:
                wait = max(1, math.ceil((1 - bucket.tokens) / rate))
                raise RateLimited(
                    f"This project has used its {quota} requests a minute: try again in {wait} s.", retry_after_s=wait
                )
            bucket.tokens -= 1
            left = int(bucket.tokens)
        return Rate(quota, left, 0 if left else math.ceil((1 - bucket.tokens) / rate))
