"""The families whose jobs share a start: those of `convergence`, and digits from one initialisation.

In `digits-shared` the classes that a job's three outputs stand for differ from job to job, so the last layer of a start
means little: what is left is the layer below it.
"""

from collections.abc import Callable, Mapping
from dataclasses import replace
from functools import cache

from benchmarks.convergence.families import family as family_of
from benchmarks.convergence.tasks import Family
from warpadam.shapes import anchor
from workers.tasks.models import build


def _digits() -> Family:
    made = family_of("digits")
    model = made.held_out[0].model
    return replace(
        made,
        name="digits-shared",
        about="three classes of digits, held-out classes never seen; MLP, every job from one initialisation",
        contributors=tuple(replace(task, model=model) for task in made.contributors),
        init="shared",
        start={name: weight.detach() for name, weight in build(model, seed=7).named_parameters()},
        anchor=anchor(model, "family"),
    )


FAMILIES: Mapping[str, Callable[[], Family]] = {
    "inpaint-shared": lambda: family_of("inpaint-shared"),
    "digits-shared": _digits,
    "text": lambda: family_of("text"),
    "text-young": lambda: family_of("text-young"),
}


@cache
def family(name: str) -> Family:
    """A family, checked, built once a process."""
    return FAMILIES[name]().check()
