"""The loop on one rank: learns, repeats itself bit for bit, resumes exactly, contributes each step once, stops well."""

import math
from typing import Any

import numpy as np
import pytest
import torch

from service.learning import JobFacts
from tests.workers.plans import Learner, Listener, plan, regression
from warpadam import Warp
from warpadam.learn import Contribution
from workers import checkpoints
from workers.exchange import Exchange, NewWarp, NullExchange
from workers.failures import NotFiniteError
from workers.group import Group
from workers.meta.core import LearnerCore, solve
from workers.plan import Plan
from workers.reporting import Outcome, WarpUse
from workers.train import train

TRANSFORMER = {"arch": "transformer", "layers": 1, "width": 16, "heads": 2, "context": 8, "vocabulary": 256}
CONVNET = {"arch": "convnet", "channels": [4, 8], "kernel": 3, "input": [6, 6, 3], "output": 3}


@pytest.fixture(autouse=True)
def one_thread() -> None:
    torch.set_num_threads(1)


def run(job: Plan, exchange: Exchange | None = None, **stop: Any) -> tuple[Outcome, Listener]:
    listener = Listener(**stop)
    outcome = train(job, Group(), listener, exchange or Learner())
    return outcome, listener


def rotation(size: int, seed: int = 0) -> Warp:
    orthogonal, _ = np.linalg.qr(np.random.default_rng(seed).normal(size=(size, size)))
    return Warp({f"input:{size}": orthogonal.astype(np.float32)})


def text_plan(**fields: Any) -> Plan:
    base = plan(**fields)
    draw = np.random.default_rng(0).integers(97, 103, 600).astype(np.uint8)
    split = regression()
    split = type(split)(draw[:500], split.y_train[:0], draw[500:], split.y_train[:0])
    spec = base.spec.model_copy(update={"task": "language_modeling"})
    return Plan(**{**vars(base), "spec": spec, "split": split, "model": TRANSFORMER})


def image_plan(**fields: Any) -> Plan:
    base = plan(**fields)
    draw = np.random.default_rng(0)
    labels = np.arange(60) % 3
    x = (draw.normal(size=(60, 6, 6, 3)) + labels[:, None, None, None]).astype(np.float32)
    spec = base.spec.model_copy(update={"task": "classification"})
    split = type(base.split)(x[:40], labels[:40], x[40:], labels[40:])
    return Plan(**{**vars(base), "spec": spec, "split": split, "model": CONVNET})


PLANS = pytest.mark.parametrize("make", [plan, text_plan, image_plan], ids=["mlp", "transformer", "convnet"])


@PLANS
@pytest.mark.parametrize("name", ["warpadam", "adamw"])
def test_it_learns_and_repeats_itself_bit_for_bit(make: Any, name: str) -> None:
    job = make(optimizer={"name": name})
    (outcome, first), (_, second) = run(job), run(job)
    losses = first.points("train_loss")
    assert losses == second.points("train_loss")
    assert first.points("val_loss") == second.points("val_loss")
    assert [step for step, _ in losses] == list(range(1, 21))
    assert first.points("val_loss")[-1][1] < first.points("val_loss")[0][1]
    assert outcome.final is not None
    assert outcome.final["val_loss"] == first.points("val_loss")[-1][1]


def test_two_threads_repeat_themselves_too() -> None:
    torch.set_num_threads(2)
    job = text_plan()
    assert run(job)[1].points("train_loss") == run(job)[1].points("train_loss")


def test_evaluates_and_saves_when_due_and_at_the_end() -> None:
    outcome, listener = run(plan())
    assert [step for step, _ in listener.points("val_loss")] == [5, 10, 15, 20]
    assert [saved.step for saved in listener.saved if saved.state] == [10, 20]
    assert outcome.best == {"step": 20, "val_loss": min(value for _, value in listener.points("val_loss"))}
    assert [saved.is_best for saved in listener.saved] == [True, True]


def test_zero_means_at_the_end_only() -> None:
    _, listener = run(plan(training={"eval_every": 0, "checkpoint_every": 0}))
    assert [step for step, _ in listener.points("val_loss")] == [20]
    assert [saved.step for saved in listener.saved] == [20]


def test_the_best_model_is_saved_where_it_was_seen() -> None:
    """A learning rate that is far too large soon: the best step is not one at which a checkpoint is due."""
    job = plan(training={"steps": 19, "eval_every": 3, "checkpoint_every": 0, "schedule": "constant"},
               optimizer={"lr": 0.8, "learn": "none"})  # fmt: skip
    outcome, listener = run(job)
    assert outcome.best is not None
    best = [saved for saved in listener.saved if saved.is_best]
    assert [(saved.step, saved.val_loss) for saved in best] == [(outcome.best["step"], outcome.best["val_loss"])]
    again, _ = run(Plan(**{**vars(job), "base": best[0].model, "steps": 0}))
    assert again.final is not None
    assert again.final["val_loss"] == best[0].val_loss


@pytest.mark.parametrize(
    "optimizer",
    [{}, {"name": "adamw"}, {"nesterov": True}, {"adapt": "hidden"}, {"adapt": "all"}],
    ids=["warpadam", "adamw", "nesterov", "hidden", "all"],
)
@PLANS
def test_a_resumed_run_goes_on_bit_for_bit(make: Any, optimizer: dict[str, Any]) -> None:
    job = make(optimizer=optimizer)
    _, whole = run(job)
    saved = next(saved for saved in whole.saved if saved.step == 10)
    rest = Plan(**{**vars(job), "resume_model": saved.model, "resume_state": saved.state})
    outcome, resumed = run(rest)
    assert resumed.points("train_loss") == whole.points("train_loss")[10:]
    assert resumed.points("val_loss") == whole.points("val_loss")[2:]
    assert resumed.saved[-1].model == whole.saved[-1].model
    assert outcome.best == {"step": 20, "val_loss": whole.points("val_loss")[-1][1]}


def test_a_resume_keeps_the_p_that_was_in_use() -> None:
    job = plan(warp=rotation(6).to_bytes(), warp_version=3)
    _, whole = run(job)
    saved = whole.saved[0]
    other = Plan(
        **{**vars(job), "resume_model": saved.model, "resume_state": saved.state, "warp": rotation(6, 1).to_bytes()}
    )
    _, resumed = run(other)
    assert resumed.points("train_loss") == whole.points("train_loss")[10:]
    assert WarpUse(10, 3) in resumed.messages


def test_contributions_cover_every_step_once() -> None:
    learner = Learner()
    outcome, _ = run(plan(), learner)
    found = [Contribution.decode(sent) for sent in learner.sent if sent]
    assert [(one.start, one.end) for one in found] == [(0, 4), (4, 8), (8, 12), (12, 16), (16, 20)]
    assert [one.sequence for one in found] == [0, 1, 2, 3, 4]
    assert set(found[0].sums) == {"input:6", "output:3"}
    assert learner.flushed
    assert (learner.finalized, outcome.version) == (1, 7)


def test_a_busy_learner_lets_the_interval_grow() -> None:
    learner = Learner(busy=6)
    run(plan(), learner)
    found = [Contribution.decode(sent) for sent in learner.sent if sent]
    assert [(one.start, one.end) for one in found] == [(0, 4), (4, 14), (14, 20)]


def test_adamw_contributes_the_same() -> None:
    learner = Learner()
    run(plan(optimizer={"name": "adamw"}), learner)
    assert len(learner.sent) == 5


def test_steps_before_the_watermark_are_not_observed_again() -> None:
    job = plan()
    saved = run(job)[1].saved[0]
    learner = Learner()
    fields = {"resume_model": saved.model, "resume_state": saved.state, "watermark": 13}
    run(Plan(**{**vars(job), **fields}), learner)
    found = [Contribution.decode(sent) for sent in learner.sent if sent]
    assert [(one.start, one.end) for one in found] == [(13, 17), (17, 20)]


def test_learn_none_sends_nothing() -> None:
    learner = Learner()
    run(plan(optimizer={"learn": "none"}), NullExchange())
    assert learner.sent == []


def test_keys_that_do_not_fit_a_contribution_are_left_out() -> None:
    learner = Learner()
    run(plan(max_contribution_bytes=8 * 6), learner)
    assert learner.sent[0]
    assert set(Contribution.decode(learner.sent[0]).sums) == {"output:3"}


def test_hypergradient_sends_what_the_meta_learner_takes_and_solves() -> None:
    job, learner = plan(optimizer={"learn": "hypergradient"}), Learner()
    run(job, learner)
    core = LearnerCore(max_axis=512, max_bytes=2**20)
    facts = JobFacts(job_id=job.job, attempt=1, rule="hypergradient", steps=20, model=dict(job.model), anchor=None)
    for sent in learner.sent:
        assert sent
        core.apply(core.check(sent, facts))
    solved = solve(core.snapshot)
    assert solved is not None
    assert (solved.rule, solved.steps, solved.jobs[0]["contributions"]) == ("hypergradient", 20, 5)
    assert set(solved.solution.matrices) == {"input:6", "output:3"}
    plain = Learner()
    run(plan(), plain)
    assert plain.sent[0]
    for key, packed in Contribution.decode(plain.sent[0]).sums.items():
        assert np.array_equal(Contribution.decode(learner.sent[0] or b"").sums[key], packed)


def test_a_loss_that_is_not_finite_fails_before_the_step() -> None:
    split = regression()
    split.x_train[:] = np.inf
    learner = Learner()
    with pytest.raises(NotFiniteError, match=r"step 1 of 20.*optimizer\.lr"):
        run(plan(split=split), learner)
    assert learner.sent == []


def test_divergence_is_noticed() -> None:
    with pytest.raises(NotFiniteError, match="diverged"):
        run(plan(optimizer={"lr": 1e30, "name": "adamw"}, training={"schedule": "constant"}))


def test_weights_that_only_the_validation_shows_to_be_lost_are_no_result() -> None:
    learner = Learner()
    steps = {"steps": 1, "schedule": "constant"}
    with pytest.raises(NotFiniteError, match=r"validation loss was not finite after step 1 of 1.*optimizer\.lr"):
        run(plan(optimizer={"lr": 1e25}, training=steps), learner)
    assert learner.sent == []


def test_grad_clip_bounds_the_step_but_not_the_report() -> None:
    split = regression()
    _, free = run(plan(split=split))
    _, clipped = run(plan(split=split, training={"grad_clip": 1e-9}))
    assert clipped.points("grad_norm")[0] == free.points("grad_norm")[0]
    assert clipped.saved[-1].model != free.saved[-1].model


def test_cancel_ends_at_once_and_saves_nothing() -> None:
    learner = Learner()
    outcome, listener = run(plan(), learner, reason="cancel", stop_after=7)
    assert (outcome.stopped, outcome.step) == ("cancel", 7)
    assert listener.saved == []
    assert len(learner.sent) == 1


def test_pause_saves_contributes_and_goes_on_later() -> None:
    job = plan()
    learner = Learner()
    outcome, paused = run(job, learner, reason="pause", stop_after=7)
    assert (outcome.stopped, outcome.step) == ("pause", 7)
    assert learner.sent[-1]
    assert Contribution.decode(learner.sent[-1]).end == 7
    saved = paused.saved[-1]
    _, rest = run(Plan(**{**vars(job), "resume_model": saved.model, "resume_state": saved.state}))
    _, whole = run(job)
    assert rest.points("train_loss") == whole.points("train_loss")[7:]
    assert rest.saved[-1].model == whole.saved[-1].model


def test_follow_moves_p_and_not_too_often() -> None:
    """β2 = 0.8: at most one change per 5 steps."""
    warps = [NewWarp(version, rotation(6, version).to_bytes()) for version in range(1, 40)]
    job = plan(optimizer={"follow": True, "betas": (0.9, 0.8)})
    _, listener = run(job, Learner(warps=warps))
    uses = [message for message in listener.messages if isinstance(message, WarpUse)]
    assert [use.step for use in uses] == [0, 5, 10, 15, 20]
    assert len({use.version for use in uses}) == 5


def test_a_p_for_other_axes_is_not_taken() -> None:
    other = [NewWarp(2, rotation(11).to_bytes())]
    _, listener = run(plan(optimizer={"follow": True, "betas": (0.9, 0.8)}), Learner(warps=other))
    assert [message for message in listener.messages if isinstance(message, WarpUse)] == [WarpUse(0, None)]
    assert len(listener.events("warning")) == 1


def test_bf16_trains_on_float32_weights() -> None:
    outcome, listener = run(plan(training={"precision": "bf16", "steps": 40}))
    assert outcome.final is not None
    assert math.isfinite(outcome.final["val_loss"])
    assert listener.points("val_loss")[-1][1] < listener.points("val_loss")[0][1]


def test_a_checkpoint_of_another_model_is_refused_by_name() -> None:
    saved = run(plan())[1].saved[-1]
    wider = {"arch": "mlp", "hidden": [9], "activation": "relu", "input": 6, "output": 3}
    with pytest.raises(checkpoints.BadInputError, match=r"layers\.0\.(bias|weight)"):
        run(plan(base=saved.model, model=wider))
