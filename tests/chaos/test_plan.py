"""The plan of a chaos run: drawn from its seed, and complete."""

from tests.chaos import plan


def test_the_same_seed_gives_the_same_plan() -> None:
    assert plan.make(7, 20, plan.ON_POSTGRES, jobs=3) == plan.make(7, 20, plan.ON_POSTGRES, jobs=3)
    assert plan.make(7, 20, plan.ON_POSTGRES, jobs=3) != plan.make(8, 20, plan.ON_POSTGRES, jobs=3)


def test_every_kind_has_its_turn_and_some_come_together() -> None:
    rounds = plan.make(1, len(plan.ON_POSTGRES), plan.ON_POSTGRES, jobs=2)
    assert {round_.blows[0].kind for round_ in rounds} == set(plan.ON_POSTGRES)
    assert any(len(round_.blows) > 1 for round_ in rounds)
    assert all(len({blow.kind for blow in round_.blows}) == len(round_.blows) for round_ in rounds)
