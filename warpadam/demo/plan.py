"""What the demo trains: sizes, domains and budgets. One place to change them."""

from dataclasses import dataclass
from typing import Any

Json = dict[str, Any]

MODEL: Json = {"arch": "transformer", "layers": 2, "width": 64, "heads": 4, "context": 64}
BASE_DOMAIN = "modules"
CONTRIBUTING_DOMAINS = ("asyncio", "email", "multiprocessing", "unittest")
HELD_OUT_DOMAIN = "http"
LEARNING_RATES = (0.001, 0.002, 0.004, 0.008, 0.016)
BATCH_SIZE = 16
BASE_STEPS = 500
CONTRIBUTOR_LEARNING_RATE = 0.002


@dataclass(frozen=True)
class Plan:
    """`steps` is T, what AdamW gets; each shorter budget has a schedule of its own, and the same learning rates."""

    family: str
    steps: int
    learning_rates: tuple[float, ...] = LEARNING_RATES
    base_steps: int = BASE_STEPS

    @property
    def budgets(self) -> tuple[int, ...]:
        """T, 3T/4, 2T/3 and T/2, longest first."""
        return (self.steps, self.steps * 3 // 4, self.steps * 2 // 3, self.steps // 2)

    @property
    def start_budgets(self) -> tuple[int, ...]:
        """T, T/2, T/3 and T/4, for who begins with the family's start."""
        return (self.steps, self.steps // 2, self.steps // 3, self.steps // 4)

    def base_job(self, dataset: str) -> Json:
        optimizer = {"name": "adamw", "lr": 0.003, "warp": "none", "learn": "none"}
        return self._job("base", dataset, self.base_steps, optimizer, init="random", seed=0)

    def contributing_job(self, domain: str, dataset: str, base: str) -> Json:
        optimizer = {"name": "warpadam", "lr": CONTRIBUTOR_LEARNING_RATE, "warp": "none", "learn": "covariance"}
        return self._job(f"learn-{domain}", dataset, self.steps, optimizer, init={"family": base}, seed=1)

    def held_out_job(
        self, dataset: str, base: str, *, steps: int, lr: float, warp: int | None, start: bool = False
    ) -> Json:
        """AdamW where `warp` is None, else WarpAdam with that version; nobody learns from either.

        All begin with the base, or with `start` with what the family grew from it.
        """
        name = "adamw" if warp is None else "warpadam"
        optimizer = {"name": name, "lr": lr, "warp": "none" if warp is None else warp, "learn": "none"}
        init = {"family" if start else "checkpoint": base}
        label = f"{name}-start-{steps}-{lr:g}" if start else f"{name}-{steps}-{lr:g}"
        return self._job(label, dataset, steps, optimizer, init=init, seed=2)

    def _job(self, name: str, dataset: str, steps: int, optimizer: Json, *, init: str | Json, seed: int) -> Json:
        return {
            "family": self.family,
            "name": name,
            "dataset": {"id": dataset},
            "task": "language_modeling",
            "model": MODEL,
            "init": init,
            "optimizer": optimizer,
            "training": {
                "steps": steps,
                "batch_size": BATCH_SIZE,
                "seed": seed,
                "eval_every": max(1, steps // 10),
                "checkpoint_every": 0,
                "sync_every": 25,
            },
        }
