"""What is compared: AdamW and WarpAdam, from the seed or base, from the family's start, from the joint one.

Both also with Nesterov's momentum or a short one, WarpAdam also with its hidden axes adapting: as `convergence.methods`
has them.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import partial

from benchmarks.convergence.adapting import Adapting, AdaptingNesterov
from benchmarks.convergence.grid import Setting
from benchmarks.convergence.learning import Warps
from benchmarks.convergence.methods import SHORT, Method
from benchmarks.convergence.tasks import Family, Task
from benchmarks.convergence.updates import Adam, Nesterov, Stacked, Update
from benchmarks.starts import narrow
from benchmarks.starts.making import PRODUCT, Made, assert_unseen, made

CONTRIBUTORS, ROUNDS = (1, 2, 5, 20), (1, 2, 5)
RULE_OF = {"seed": PRODUCT, "start": PRODUCT}
"""Kind -> the rule behind it, where they differ. `seed` is the family's own initialisation or its base, with the P that
was learned from it."""
STEPS: Mapping[str, Callable[[Stacked], Update]] = {
    "": Adam,
    "-nesterov": Nesterov,
    "-short": Adam,
    "-adapt": partial(Adapting, axes="hidden"),
    "-adapt-short": partial(Adapting, axes="hidden"),
    "-adapt-nesterov": partial(AdaptingNesterov, axes="hidden"),
}
"""How a step is made, by what stands behind the optimizer's name; `short` is Adam with a β1 of its own."""


@dataclass(frozen=True, order=True)
class Cell:
    """A start from so many contributors and rounds; `warped`: under the P that was learned beside it.

    `kind`: `seed`, `start` (the product's), `joint` (as many steps of joint training), a rule of `making.STARTS`, or a
    width of `narrow.KINDS`: then `contributors` times `rounds` jobs, few at once.
    `step`: a key of `STEPS`.
    """

    kind: str
    contributors: int
    rounds: int
    warped: bool
    step: str = ""

    @property
    def name(self) -> str:
        return f"{'warp' if self.warped else 'adamw'}{self.step}, {self.kind} {self.contributors} x {self.rounds}"

    def behind(self, family: Family) -> Made:
        """The start and P of this cell, which none of the tasks that choose or judge is behind."""
        make, rule = (narrow.made if self.kind in narrow.KINDS else made), RULE_OF.get(self.kind, self.kind)
        found = make(family.name, self.contributors, self.rounds, rule)
        assert_unseen(found, family)
        return found

    def method(self) -> Method:
        warp = partial(_warps, self) if self.warped else None
        setting = SHORT if "short" in self.step else Setting(1e-3)
        return Method(self.name, self.name, STEPS[self.step], setting, warp, adapts="adapt" in self.step)


REFERENCE = Cell("seed", 20, 1, warped=False)


def _warps(cell: Cell, family: Family, task: Task) -> Warps:
    return cell.behind(family).warps


def named(text: str) -> Cell:
    """The cell of a name as `Cell.name` writes it."""
    optimizer, _, rest = text.partition(", ")
    kind, contributors, _, rounds = rest.rsplit(" ", 3)
    family, dash, step = optimizer.partition("-")
    return Cell(kind, int(contributors), int(rounds), family == "warp", dash + step)
