"""Everything that is compared, by name: an update, the P that it runs under, where its grid begins.

Every method is tuned on the same number of points. `default` is what its authors ship, tried beside the grid.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from benchmarks.convergence import adapting, controls, forward, learning, peers, training, updates
from benchmarks.convergence.adapting import Adapting, AdaptingNesterov
from benchmarks.convergence.adapting_nadam import AdaptingNAdam
from benchmarks.convergence.grid import Setting
from benchmarks.convergence.learning import Warps, learn
from benchmarks.convergence.store import code_version
from benchmarks.convergence.tasks import Family, Task
from benchmarks.convergence.updates import Adam, NAdam, Nesterov, Shampoo, Soap, Stacked, Update
from warpadam import adapt
from workers.tasks.schedules import Schedule

WarpOf = Callable[[Family, Task], Warps]


@dataclass(frozen=True)
class Method:
    """`start`: another start than the family's own."""

    name: str
    about: str
    make: Callable[[Stacked], Update]
    default: Setting
    warp: WarpOf | None = None
    schedule: Schedule = "cosine"
    package: str = ""
    whiten: bool = False
    start: str = ""
    shared_only: bool = False
    rows_only: bool = False
    adapts: bool = False

    def suits(self, family: Family) -> bool:
        """Whether this family can have it: some starts need one, text cannot be whitened, a kernel neither."""
        text = family.held_out[0].kind == "language_modeling"
        convolved = family.held_out[0].model["arch"] == "convnet"
        if self.shared_only and family.init != "shared":
            return False
        return not (self.rows_only and text) and not (self.whiten and (text or convolved))

    def code(self) -> str:
        """The version of everything that this method's numbers depend on, packages included."""
        modules = [forward, training, updates, *([adapting, adapt] if self.adapts else [])]
        files = [Path(str(module.__file__)) for module in modules]
        if self.package:
            return f"{code_version(*files, Path(peers.__file__))} {self.package} {peers.versions()[self.package]}"
        return code_version(*files)


def _learned(jobs: int = 20, observed: float = 1.0) -> WarpOf:
    return lambda family, task: learn(family.name, jobs, observed=observed).warps


def _changed(change: Callable[[Warps], Warps]) -> WarpOf:
    return lambda family, task: change(learn(family.name).warps)


def _own(family: Family, task: Task) -> Warps:
    return controls.own_basis(task, learning.keys_of(family, task))


def _packaged(make: peers.Make) -> Callable[[Stacked], Update]:
    return lambda stacked: peers.Packaged(stacked, make)


ADAM, WARP = Setting(1e-3), Setting(1e-3)
SHORT = Setting(1e-3, beta1=0.6)
"""For short runs, as .9 remembers ten steps. Of .2 to .9, .6 was the best on `inpaint`'s tuning tasks, or as good as
the best, for AdamW too."""
_PAPER = partial(Adam, project_back=False)
_HIDDEN, _ALL = partial(Adapting, axes="hidden"), partial(Adapting, axes="all")
_HIDDEN_NESTEROV = partial(AdaptingNesterov, axes="hidden")
_ALL_NESTEROV = partial(AdaptingNesterov, axes="all")
_METHODS = (
    Method("adamw", "torch.optim.AdamW", Adam, ADAM),
    Method("adamw-nesterov", "AdamW with Nesterov's momentum, as WarpAdam(nesterov=True) without a P", Nesterov, ADAM),
    Method("nadam", "torch.optim.NAdam", NAdam, Setting(2e-3)),
    Method("soap", "SOAP of pytorch-optimizer", _packaged(peers.soap), Setting(3e-3, 0.95, beta1=0.95),
           package="pytorch-optimizer"),
    Method("soap-reference", "SOAP that also steps with the first gradient", Soap, Setting(3e-3, 0.95, beta1=0.95)),
    Method("muon", "torch.optim.Muon, AdamW beside it", _packaged(peers.muon), Setting(1e-3),
           package="torch"),
    Method("shampoo", "ScalableShampoo of pytorch-optimizer", _packaged(peers.shampoo), Setting(1e-3),
           package="pytorch-optimizer"),
    Method("shampoo-reference", "Shampoo grafted to Adam", Shampoo, Setting(1e-3)),
    Method("schedule-free", "AdamWScheduleFree of schedulefree", _packaged(peers.schedule_free), Setting(2.5e-3),
           schedule="constant", package="schedulefree"),
    Method("warp", "WarpAdam, P of 20 jobs, fixed", Adam, WARP, _learned()),
    Method("warp-nesterov", "WarpAdam with Nesterov's momentum, P of 20 jobs, fixed", Nesterov, WARP, _learned()),
    Method("warp-adapt", "WarpAdam, P of 20 jobs, hidden axes adapt", _HIDDEN, WARP, _learned(), adapts=True),
    Method("warp-adapt-all", "WarpAdam, P of 20 jobs, all axes adapt", _ALL, WARP, _learned(), adapts=True),
    Method("warp-adapt-nesterov", "warp-adapt with Nesterov's momentum", _HIDDEN_NESTEROV, WARP, _learned(),
           adapts=True),
    Method("warp-adapt-all-nesterov", "warp-adapt-all with Nesterov's momentum", _ALL_NESTEROV, WARP, _learned(),
           adapts=True),
    Method("adapt-scratch", "WarpAdam, no P, all axes adapt", _ALL, WARP, adapts=True),
    Method("warp-nadam", "NAdam under P of 20 jobs", NAdam, WARP, _learned()),
    Method("warp-adapt-nadam", "the same, hidden axes adapt", AdaptingNAdam, WARP, _learned(), adapts=True),
    Method("adamw-short", "AdamW with a shorter momentum, β1 = .6", Adam, SHORT),
    Method("warp-short", "WarpAdam with it, P of 20 jobs, fixed", Adam, SHORT, _learned()),
    Method("warp-adapt-short", "the same, hidden axes adapt", _HIDDEN, SHORT, _learned(), adapts=True),
    Method("warp-paper", "the paper's rule, the same P", _PAPER, WARP, _learned()),
    Method("warp-data", "WarpAdam, basis of the job's own data", Adam, WARP, _own, rows_only=True),
    Method("warp-1", "WarpAdam, P of 1 job", Adam, WARP, _learned(1)),
    Method("warp-2", "WarpAdam, P of 2 jobs", Adam, WARP, _learned(2)),
    Method("warp-5", "WarpAdam, P of 5 jobs", Adam, WARP, _learned(5)),
    Method("identity", "WarpAdam, P = I", Adam, ADAM, _changed(controls.identity)),
    Method("permutation", "WarpAdam, P a signed permutation", Adam, ADAM, _changed(controls.signed_permutation)),
    Method("rotation", "WarpAdam, P a random rotation of the same axes", Adam, WARP, _changed(controls.rotation)),
    Method("wrong-family", "WarpAdam, P of a family with other columns", Adam, WARP, _changed(controls.other_columns)),
    Method("paper-diagonal", "the paper's rule, P diagonal", _PAPER, ADAM, _changed(controls.diagonal)),
    Method("whitened", "AdamW, inputs whitened in the data", Adam, ADAM, whiten=True, rows_only=True),
    Method("adamw-matched", "AdamW, start trained on the contributors' data and steps", Adam, ADAM, start="matched",
           shared_only=True),
    Method("warp-matched", "WarpAdam from that same start", Adam, WARP, _learned(), start="matched",
           shared_only=True),
    Method("adamw-averaged", "AdamW, start the average of the contributors' weights", Adam, ADAM, start="averaged",
           shared_only=True),
    Method("warp-averaged", "WarpAdam from that same start", Adam, WARP, _learned(), start="averaged",
           shared_only=True),
)  # fmt: skip
METHODS: Mapping[str, Method] = {method.name: method for method in _METHODS}
COMPARED = ("adamw", "nadam", "soap", "soap-reference", "muon", "shampoo", "shampoo-reference", "schedule-free", "warp")
"""Peers and ours; the rest are controls."""
