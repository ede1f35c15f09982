"""The training loop, for one worker and for many: it reads as a checklist.

Invariants: every decision (stop, fail, exchange, change P) is made by all ranks at the same step, from numbers that the
gradients' all-reduce carries. A loss or gradient that is not finite ends the run before the step, and nothing from that
step on is contributed. What step s does is a function of the plan and of the state after step s-1 alone, so a resumed
run goes on bit for bit.
"""

from dataclasses import replace
from math import isfinite

import torch
from torch import Tensor

from warpadam import Warp, WarpAdam
from workers import checkpoints, preparing
from workers.code.undo import Undo
from workers.contributing import contributor
from workers.evaluation import Scores, evaluate
from workers.exchange import Exchange, NewWarp
from workers.failures import NotFiniteError
from workers.gradients import Gradients, Signals
from workers.group import Group
from workers.plan import Plan
from workers.progress import Teller
from workers.reporting import Data, Event, Outcome, Reporter, Saved, Stop, WarpUse
from workers.tasks.data import Share, batches
from workers.tasks.losses import LOSSES
from workers.tasks.schedules import factor


def train(plan: Plan, group: Group, reporter: Reporter, exchange: Exchange) -> Outcome:
    """Runs one attempt to its end, or until it is told to stop. Collective over the group.

    `reporter` and `exchange` are the leader's; other ranks pass null objects.
    """
    return Training(plan, group, reporter, exchange).run()


class Training:
    """The state of one run."""

    def __init__(self, plan: Plan, group: Group, reporter: Reporter, exchange: Exchange) -> None:
        self.plan, self.group, self.reporter, self.exchange = plan, group, reporter, exchange
        self.options = plan.spec.training
        self.loss = LOSSES[plan.spec.task]
        self.precision = torch.bfloat16 if self.options.precision == "bf16" else torch.float32
        self.batches = batches(
            plan.spec.task,
            plan.split,
            context=plan.context,
            batch_size=self.options.batch_size,
            seed=plan.seed,
            device=group.device,
            share=Share(group.rank, group.world),
        )
        prepared = preparing.prepare_model(plan, group)
        self.model, keys = prepared.module, prepared.axis_keys
        version, self.warp = preparing.starting_warp(plan, keys, group)
        self.optimizer = preparing.prepare_optimizer(plan, prepared, self.warp)
        self.position = preparing.resume(plan, self.optimizer)
        self.gradients = Gradients(self.model, group)
        self.undo = Undo(self.model, group.device) if plan.runs_code else None
        self.contributor = contributor(plan, keys, group, exchange, self.position.step)
        self.teller = Teller(reporter, self.position.step, plan.steps, self.position.seconds)
        self.scores: Scores | None = None
        self.scored_at = self.saved_at = -1
        self.best_model: bytes | None = None
        self.arrived: NewWarp | None = None
        if (why := preparing.not_covered(plan, keys)) is not None:
            reporter.post(Event("warning", why, level="warning"))
        own = plan.uses_own_data and self.warp is not None
        reporter.post(WarpUse(self.position.step, version, "data" if own else None))

    def run(self) -> Outcome:
        self.model.train()
        for step in range(self.position.step, self.plan.steps):
            signals = self.backward(step)
            if signals.stop:
                return self.stopped()
            self.check_finite(step, signals)
            self.gradients.clip(signals.norm, self.options.grad_clip)
            self.contributor.observe(step, self.gradients.named())
            lr = self.schedule(step)
            self.optimizer.step()
            self.position = replace(self.position, step=step + 1)
            self.teller.step(step + 1, signals, lr)
            if signals.warp:
                self.change_warp()
            if signals.sync:
                self.contributor.send(step + 1, self.position.warp_version)
            if self.due(self.options.eval_every):
                self.evaluate()
            if self.due(self.options.checkpoint_every):
                self.checkpoint()
        return self.finish()

    def backward(self, step: int) -> Signals:
        """Forward, backward, and one all-reduce: gradients and signals of the whole batch, the same on every rank."""
        self.gradients.zero()
        if self.undo:
            self.undo.note()
        inputs, targets = self.batches.train(step)
        loss = torch.zeros((), device=self.group.device)
        if len(inputs):
            loss = self.loss.sum(self.forward(inputs), targets) / self.batches.targets_per_batch
            torch.autograd.backward(loss)
        return self.gradients.reduce(
            loss.detach(),
            stop=self.reporter.stop() is not None,
            sync=self.group.leads and self.contributor.wants(step + 1),
            warp=self.group.leads and self.wants_warp(step + 1),
        )

    def forward(self, inputs: Tensor) -> Tensor:
        with torch.autocast(inputs.device.type, dtype=torch.bfloat16, enabled=self.precision == torch.bfloat16):
            outputs: Tensor = self.model(inputs)
        return outputs

    def check_finite(self, step: int, signals: Signals) -> None:
        if isfinite(signals.loss) and isfinite(signals.norm):
            return
        what = "loss" if not isfinite(signals.loss) else "gradient"
        raise self.diverged(f"The {what} was not finite in step {step + 1} of {self.plan.steps}")

    def diverged(self, what: str) -> NotFiniteError:
        return NotFiniteError(
            f"{what}: training diverged. "
            f"Lower optimizer.lr (now {self.plan.spec.optimizer.lr:g}), set training.grad_clip, "
            "or look for values in the data that are very large or not numbers."
        )

    def schedule(self, step: int) -> float:
        """Sets the learning rate of this step, and returns it."""
        scale = factor(self.options.schedule, step, self.plan.steps, self.options.warmup_steps)
        lr = self.plan.spec.optimizer.lr * scale
        for group in self.optimizer.param_groups:
            group["lr"] = lr
        return lr

    def due(self, every: int) -> bool:
        """Whether something with this interval is due after the step just done; the end has its own turn."""
        step = self.position.step
        return every > 0 and step % every == 0 and step < self.plan.steps

    def wants_warp(self, end: int) -> bool:
        """Whether a newer P is here, and the last change is 1/(1-β2) steps ago, which v needs to forget."""
        if not self.plan.spec.optimizer.follow:
            return False
        self.arrived = self.exchange.newest() or self.arrived
        if self.arrived is None or self.arrived.version == self.position.warp_version:
            return False
        beta2 = self.plan.spec.optimizer.betas[1]
        return (end - self.position.warp_changed_at) * (1 - beta2) >= 1 - 1e-9

    def change_warp(self) -> None:
        """Goes on under the P that arrived, on all ranks."""
        new, self.arrived = self.group.share(self.arrived), None
        if new is None or not isinstance(self.optimizer, WarpAdam):
            return
        step, old = self.position.step, self.position.warp_version
        data: Data = {"step": step, "from": old, "to": new.version}
        try:
            self.optimizer.change_warp(Warp.from_bytes(new.data))
        except ValueError as error:  # a P for other axes: refused whole, the old one stays
            self.reporter.post(Event("warning", f"P version {new.version} was not taken: {error}", data, "warning"))
            self.position = replace(self.position, warp_changed_at=step)
            return
        self.warp = new.data
        self.position = replace(self.position, warp_version=new.version, warp_changed_at=step)
        self.reporter.post(WarpUse(step, new.version))

    def evaluate(self) -> Scores:
        step = self.position.step
        if self.scores is None or self.scored_at != step:
            self.group.align(self.model)
            self.scores = evaluate(self.model, self.batches, self.loss, self.group, self.precision)
            self.scored_at = step
            self.teller.scores(step, self.scores)
            if not isfinite(self.scores.loss):
                raise self.diverged(f"The validation loss was not finite after step {step} of {self.plan.steps}")
            best = self.position.best_loss
            if best is None or self.scores.loss < best:
                self.position = replace(self.position, best_loss=self.scores.loss, best_step=step)
                self.best_model = self.encode_model()
            self.teller.resume_clock()
        return self.scores

    def encode_model(self) -> bytes | None:
        return checkpoints.encode_model(self.model) if self.group.leads else None

    def checkpoint(self) -> None:
        """Posts the best model so far, where it is new, and the one that a resume goes on from."""
        step = self.position.step
        self.position = replace(self.position, seconds=self.teller.seconds)
        self.group.align(self.model)
        if not self.group.leads or self.saved_at == step:
            return
        best, self.best_model = self.best_model, None
        is_best = best is not None and self.position.best_step == step
        if best is not None and not is_best and self.position.best_step is not None:
            self.reporter.post(Saved(self.position.best_step, best, None, self.position.best_loss, is_best=True))
        state = checkpoints.encode_state(self.optimizer, self.position, self.warp)
        val_loss = self.scores.loss if self.scores and self.scored_at == step else None
        self.reporter.post(Saved(step, checkpoints.encode_model(self.model), state, val_loss, is_best))
        self.saved_at = step
        self.teller.resume_clock()

    def stopped(self) -> Outcome:
        """Who is to go on saves where it is; what was observed so far is contributed first."""
        if self.undo:
            self.undo.back()
        reason: Stop | None = self.group.share(self.reporter.stop())
        if reason in ("pause", "preempt", "resize"):
            self.checkpoint()
            self.contributor.flush(self.position.step, self.position.warp_version)
        return Outcome(self.position.step, self.teller.seconds, stopped=reason)

    def finish(self) -> Outcome:
        """Evaluates and saves, then waits until a published P contains what this job contributed."""
        scores = self.evaluate()
        self.checkpoint()
        seconds = self.teller.seconds
        self.contributor.flush(self.position.step, self.position.warp_version)
        version = self.exchange.finalize()
        final = {"val_loss": scores.loss}
        if scores.accuracy is not None:
            final["val_accuracy"] = scores.accuracy
        best: dict[str, float] = {}
        if self.position.best_loss is not None and self.position.best_step is not None:
            best = {"val_loss": self.position.best_loss, "step": self.position.best_step}
        return Outcome(self.position.step, seconds, final=final, best=best, version=version)
