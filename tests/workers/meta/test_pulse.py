"""Who answers is left alone, who does not is named, and later with more patience."""

from workers.meta.pulse import Answered, Pulse


class Family:
    """Meta-learners of the test's own, and a clock."""

    def __init__(self) -> None:
        self.at, self.asked, self.answers = 0.0, list[int](), dict[int, bool]()
        self.pulse = Pulse(self.ask, 10.0, lambda: self.at)

    def ask(self, family: int) -> Answered:
        self.asked.append(family)
        return lambda: self.answers.get(family, False)

    def silent(self, seconds: float, *families: int) -> list[int]:
        self.at += seconds
        return self.pulse.silent(families)


def test_one_question_at_a_time_and_the_next_after_the_answer() -> None:
    family = Family()
    assert family.silent(0, 1, 2) == family.silent(5, 1, 2) == []
    assert family.asked == [1, 2]
    family.answers[1] = True
    assert family.silent(60, 1) == []
    assert family.silent(1, 1) == []
    assert family.asked == [1, 2, 1]


def test_who_does_not_answer_is_named_once_and_then_has_twice_as_long() -> None:
    family = Family()
    assert [family.silent(seconds, 1) for seconds in (0, 9, 1, 1, 19, 1)] == [[], [], [1], [], [], [1]]
    assert family.silent(0, 1) == []
    family.answers[1] = True
    family.silent(1, 1)
    family.answers[1] = False
    assert [family.silent(seconds, 1) for seconds in (1, 10)] == [[], [1]]


def test_nobody_is_judged_by_a_ray_that_is_gone() -> None:
    family = Family()
    family.silent(0, 1)
    family.pulse.forget()
    assert family.silent(60, 1) == []
    assert family.asked == [1, 1]
