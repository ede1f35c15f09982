"""What a match answers: the measured scores, and what follows from them."""

from collections.abc import Mapping, Sequence
from typing import Any

from service.matches import Choice, Unsuitable
from workers.matching.measure import LADDER, Measured, Score, is_better

Json = dict[str, Any]


def result(measured: Measured, choices: Mapping[str, Choice], unsuitable: Sequence[Unsuitable]) -> Json:
    """`choices` by family."""
    return {
        "measured_by": measured.by,
        "steps": measured.steps,
        "learning_rates": list(LADDER) if measured.by == "training" else [],
        "axes": measured.axes,
        "baselines": {
            "none": _score(measured.none),
            "data": None if measured.data is None else _score(measured.data),
        },
        "matches": [
            {
                "family": each.family,
                "version": each.version,
                "covered": choices[each.family].covered,
                **_score(score),
            }
            for each, score in measured.families
        ],
        "left_out": len(choices) - len(measured.families),
        "unsuitable": [each.as_json() for each in unsuitable],
        "recommendation": recommendation(measured),
    }


def _score(score: Score) -> Json:
    return dict(vars(score))


def recommendation(measured: Measured) -> Json:
    """A family where its P is better than none, and the data's own basis is not better than it."""
    none, data = measured.none, measured.data
    best = measured.families[0] if measured.families else None
    if best is not None and is_better(best[1], none) and not (data is not None and is_better(data, best[1])):
        (family, score) = best
        beside = "" if data is None else f"; the data's own basis {_gain(data, measured)}"
        reason = f"{family.family}@{family.version} {_gain(score, measured)}{beside}."
        return {"warp": "family", "family": family.family, "version": family.version, "reason": reason}
    if data is not None and is_better(data, none):
        beside = (
            "no family's P was to be measured" if best is None else f"the best family's P {_gain(best[1], measured)}"
        )
        reason = f"The data's own basis {_gain(data, measured)}; {beside}."
        return {"warp": "data", "family": None, "version": None, "reason": reason}
    reason = "Nothing was better than training without P by more than chance."
    return {"warp": "none", "family": None, "version": None, "reason": reason}


def _gain(score: Score, measured: Measured) -> str:
    if measured.by == "gradients":
        return f"removes {score.diagonal:.0%} of what the gradients' coordinates have in common"
    if score.stderr is None:
        return "did not stay finite in training"
    return f"lowers the log of the loss after {measured.steps} steps by {score.score:.3f} ± {score.stderr:.3f}"
