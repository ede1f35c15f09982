"""The token bucket, with a clock of its own; what a project's own limits do to the server's."""

import pytest
from pydantic import ValidationError

from service.errors import RateLimited
from service.limits import Buckets, Limits
from service.settings import Settings


class Clock:
    now = 0.0

    def __call__(self) -> float:
        return self.now


def test_a_bucket_holds_a_minute_and_fills_evenly() -> None:
    clock = Clock()
    buckets = Buckets(clock)
    assert [buckets.take("a", 30).left for _ in range(30)] == list(range(29, -1, -1))
    with pytest.raises(RateLimited) as refused:
        buckets.take("a", 30)
    assert refused.value.retry_after_s == 2  # one request each two seconds
    clock.now = 1.9
    with pytest.raises(RateLimited):
        buckets.take("a", 30)
    clock.now = 2.0
    last = buckets.take("a", 30)
    assert (last.quota, last.left, last.wait_s) == (30, 0, 2)
    clock.now = 10_000.0
    assert buckets.take("a", 30).left == 29


def test_each_project_has_its_own_bucket_and_a_new_quota_holds_at_once() -> None:
    buckets = Buckets(Clock())
    buckets.take("a", 1)
    with pytest.raises(RateLimited):
        buckets.take("a", 1)
    assert buckets.take("b", 1).left == 0
    buckets = Buckets(Clock())
    buckets.take("a", 1000)
    assert buckets.take("a", 5).left == 4


def test_own_limits_stand_before_the_servers() -> None:
    defaults = Limits.of(Settings(quota_running_jobs=2, quota_queued_jobs=5, requests_per_minute=0))
    assert defaults == Limits(running_jobs=2, queued_jobs=5)
    own = defaults.with_own({"running_jobs": None, "storage_bytes": 10, "of_a_later_version": 1})
    assert own == Limits(queued_jobs=5, storage_bytes=10)
    with pytest.raises(ValidationError):
        defaults.with_own({"running_jobs": -1})
