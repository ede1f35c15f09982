"""Who gives no sign of life, and who does not obey, by a clock of the test's own."""

from dataclasses import dataclass
from datetime import datetime, timedelta

from service.attempts import Fence, Living
from workers.leases import LONGEST_LOOK_S, Attention, LeaseWatch, Obedience

NOW = datetime(2026, 1, 1)
FENCE = Fence("job_a", 1, 1)


@dataclass
class Clock:
    at: float = 100.0

    def __call__(self) -> float:
        return self.at


def living(lease_s: float, intent: str | None = None) -> list[Living]:
    return [Living(FENCE, NOW + timedelta(seconds=lease_s), intent)]


def test_a_lease_that_is_renewed_is_never_lost_whatever_the_time_of_day() -> None:
    clock = Clock()
    watch = LeaseWatch(30, 120, clock)
    for beat in range(50):
        clock.at += 2
        now = NOW + timedelta(hours=beat % 3 - 1)
        assert watch.lost(living(30 + beat), now) == []


def test_one_that_is_not_renewed_is_lost_after_its_length_however_the_clock_was_set() -> None:
    clock = Clock()
    watch = LeaseWatch(30, 120, clock)
    early = NOW - timedelta(days=1)
    assert watch.lost(living(30), early) == []
    clock.at += 29
    assert watch.lost(living(30), early) == []
    clock.at += 1
    assert watch.lost(living(30), early) == living(30)


def test_one_that_is_over_when_first_seen_gets_a_second_look() -> None:
    clock = Clock()
    watch = LeaseWatch(30, 120, clock)
    assert watch.lost(living(-600), NOW) == []
    clock.at += 5
    assert watch.lost(living(-600), NOW) == living(-600)


def test_after_a_time_in_which_nobody_could_renew_it_is_seen_anew() -> None:
    clock = Clock()
    watch = LeaseWatch(30, 120, clock)
    watch.lost(living(30), NOW)
    clock.at += 100
    watch.forget()
    assert watch.lost(living(30), NOW) == []


def test_who_does_not_stop_within_the_grace_is_overdue() -> None:
    clock = Clock()
    obedience = Obedience(10, clock)
    assert obedience.overdue(living(30)) == []
    assert obedience.overdue(living(30, "cancel")) == []
    clock.at += 10
    assert obedience.overdue(living(30, "cancel")) == living(30, "cancel")
    assert obedience.overdue(living(30)) == []
    assert obedience.overdue(living(30, "pause")) == []


def test_one_that_still_starts_has_longer() -> None:
    clock = Clock()
    watch = LeaseWatch(30, 120, clock)
    starting = [Living(FENCE, NOW + timedelta(seconds=120), None, starts=True)]
    assert watch.lost(starting, NOW) == []
    clock.at += 119
    assert watch.lost(starting, NOW) == []
    clock.at += 1
    assert watch.lost(starting, NOW) == starting


def test_nobody_is_judged_by_a_time_in_which_nobody_looked() -> None:
    clock = Clock()
    attention = Attention(clock)
    watch = LeaseWatch(30, 120, attention)
    for waited, now in ((0.1, 0), (40.0, 40), (0.1, 40), (3.0, 43)):  # the database was locked for 40 s
        clock.at += waited
        attention.look()
        assert watch.lost(living(30), NOW + timedelta(seconds=now)) == []
    assert attention() < 3 * LONGEST_LOOK_S
    for _ in range(50):
        clock.at += 0.1
        attention.look()
    assert watch.lost(living(30), NOW + timedelta(seconds=48)) != []
