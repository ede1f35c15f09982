"""Tables and plots from the families' JSON: nothing is trained here."""

import json
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

Numbers = Mapping[str, Any]
"""One family's JSON, as `summary` writes it."""
FIRST = (
    "adamw",
    "adamw-nesterov",
    "nadam",
    "schedule-free",
    "muon",
    "shampoo",
    "shampoo-reference",
    "soap",
    "soap-reference",
    "warp",
)
PLOTTED = (*FIRST, "warp-nesterov", "warp-adapt-nesterov", "warp-data", "warp-averaged", "adamw-averaged")
TOO_LONG = 1.05
NO_HARM = 0.95
SMALL = 0.01
"""Log loss under which a share of it says nothing."""


def write(folder: Path) -> Path:
    """`REPORT.md` and one plot a family, beside the JSON files in `folder`."""
    families = [json.loads(path.read_text()) for path in sorted(folder.glob("*.json")) if path.stem != "wallclock"]
    wallclock = folder / "wallclock.json"
    pieces = ["# Convergence\n", _preamble(families), overview(families), untouched(families)]
    for numbers in families:
        pieces.append(section(numbers))
        plot(numbers, folder / f"{numbers['family']}.png")
    if wallclock.exists():
        pieces.append(clock(json.loads(wallclock.read_text()), families))
    path = folder / "REPORT.md"
    path.write_text("\n".join(pieces))
    return path


def _preamble(families: Sequence[Numbers]) -> str:
    machine = families[0]["machine"] if families else {}
    on = ", ".join(f"{name} {value}" for name, value in machine.items())
    return (
        "Made by `make bench-convergence`; how to read it is in docs/optimizer.md. Ratios are T divided by the "
        f"smallest budget that reaches tuned AdamW's test loss at T, by AdamW's own ratio; 95 % intervals in "
        f"brackets, † where the lower bound is under {NO_HARM}.\n\n"
        f"{on}\n"
    )


def overview(families: Sequence[Numbers]) -> str:
    """Headline ratios, a row a method, a column a family."""
    names = ordered({name for numbers in families for name in numbers["methods"]})
    rows = [
        [name, *(_headline(numbers["methods"].get(name)) for numbers in families)] for name in names if name != "adamw"
    ]
    return table(["headline steps ratio", *(numbers["family"] for numbers in families)], rows)


def untouched(families: Sequence[Numbers]) -> str:
    """How much of what tuning gains is there at AdamW's own settings, in log loss over T, T/2 and T/4 together."""
    rows = []
    for numbers in families:
        methods = numbers["methods"]
        for name in (name for name in ordered(methods) if f"{name}@adamw-lr" in methods):
            tuned, kept, scaled = (_mean_gain(methods[f"{name}{end}"]) for end in ("", "@adamw-lr", "@multiplier"))
            factor = f"{methods[f'{name}@multiplier']['multiplier']:g}"
            share = f"{100 * kept / tuned:.0f} %" if tuned >= SMALL else "no gain to keep"
            rows.append(
                [numbers["family"], name, f"{tuned:+.3f}", f"{kept:+.3f}", share, f"{scaled:+.3f} (× {factor})"]
            )
    head = ["family", "method", "gain, tuned", "at AdamW's settings", "kept", "one factor on AdamW's rate"]
    note = "Log loss gained on AdamW at the same budget, mean of T, T/2 and T/4. AdamW's settings: untouched.\n"
    return "\n".join(["\n## At AdamW's own learning rate\n", note, table(head, rows)]) if rows else ""


def _mean_gain(found: Numbers) -> float:
    return float(np.mean([found["gain"][ratio][0] for ratio in ("1", "0.5", "0.25") if ratio in found["gain"]]))


def section(numbers: Numbers) -> str:
    """One family: what it is, and every method's ratios, gains and settings."""
    own = numbers["methods"]["adamw"]["ratio"]["own"]
    lines = [
        f"\n## {numbers['family']}\n",
        f"{numbers['about']}. T = {numbers['T']} steps of {numbers['batch_size']}; held out: "
        f"{', '.join(numbers['held_out'])}; tuned on: {', '.join(numbers['tuning'])}; "
        f"P {numbers['warp_version']} from {len(numbers['contributors'])} jobs.\n",
        f"AdamW's own ratio is {own:g}" + (": **T is too long for this data**.\n" if own > TOO_LONG else ".\n"),
    ]
    rows = [
        [
            name,
            _headline(found),
            f"{found['training_ratio']['headline']:.2f}",
            _twice(found),
            *(_gain(found, ratio) for ratio in ("1", "0.5", "0.25")),
            _setting(found),
        ]
        for name, found in ((name, numbers["methods"][name]) for name in ordered(numbers["methods"]))
    ]
    head = ["method", "ratio", "on training loss", "at 2T", "loss at T", "at T/2", "at T/4", "lr, β2, warm-up at T"]
    return "\n".join([*lines, table(head, rows)])


def _headline(found: Numbers | None) -> str:
    if found is None:
        return "–"
    ratio = found["ratio"]
    shown = f"{ratio['headline']:.2f}" if ratio["headline"] else "< 0.5"
    return f"{shown} [{ratio['low']:.2f}, {ratio['high']:.2f}]" + ("" if ratio["low"] >= NO_HARM else " †")


def _twice(found: Numbers) -> str:
    ratio = found.get("ratio_at_2T")
    if ratio is None:
        return "–"
    own = f" (own {ratio['own']:.2f})" if ratio["own"] > TOO_LONG else ""
    return f"{ratio['headline']:.2f}{own}" if ratio["headline"] else "< 1"


def _gain(found: Numbers, ratio: str) -> str:
    """The loss against AdamW's at the same budget, in per cent."""
    gain = found["gain"].get(ratio)
    return "–" if gain is None else f"{100 * (np.exp(-gain[0]) - 1):+.0f} %"


def _setting(found: Numbers) -> str:
    chosen = found["chosen"].get("1") or next(iter(found["chosen"].values()))
    edge = " (edge)" if chosen["at_edge"] else ""
    decay = f", decay {chosen['weight_decay']:g}" if chosen.get("weight_decay") else ""
    return f"{chosen['lr']:.3g}{edge}, {chosen['beta2']:g}, {100 * chosen['warmup']:g} %{decay}"


def ordered(names: Iterator[str] | Mapping[str, object] | set[str]) -> list[str]:
    """Peers first, then ours, then controls by name."""
    found = set(names)
    return [name for name in FIRST if name in found] + sorted(found - set(FIRST))


def table(head: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    lines = [head, ["---"] * len(head), *rows]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines) + "\n"


def clock(times: Numbers, families: Sequence[Numbers]) -> str:
    """Wall-clock: the time of one step against AdamW's, and of reaching AdamW's loss at T, everything counted."""
    rows = []
    for numbers in families:
        measured = times["families"].get(numbers["family"])
        if measured is None:
            continue
        for name in ordered(measured["step"]):
            if name in numbers["methods"]:
                rows.append([numbers["family"], name, *_clock_row(name, measured, numbers)])
    head = ["family", "method", "step", "to AdamW's loss", "with observing and a share of P", "paid after"]
    note = "Times by AdamW's, medians of interleaved rounds; above 1 in the next two columns is faster than AdamW.\n"
    note += (
        "Paid after: how many jobs until they have saved what 20 contributors spent on observing; in brackets, what "
        "they cost altogether, had they been run for P alone.\n"
    )
    return "\n".join(["\n## Wall-clock\n", note, table(head, rows)])


def _clock_row(name: str, measured: Numbers, numbers: Numbers) -> list[str]:
    step, ratio = measured["step"][name], numbers["methods"][name]["ratio"]["headline"]
    plain = ratio / step
    if not name.startswith("warp"):
        return [f"{step:.2f}", f"{plain:.2f}", "–", "–"]
    share = measured["share"]  # in AdamW steps, for each job served
    T = numbers["T"]
    whole = T / (T / ratio * (step + measured["observing"]) + share) if ratio else 0.0
    return [f"{step:.2f}", f"{plain:.2f}", f"{whole:.2f}", _paid(plain, share, measured, numbers)]


def _paid(plain: float, share: float, measured: Numbers, numbers: Numbers) -> str:
    """How many jobs it takes, in AdamW steps saved by each."""
    if plain <= 1:
        return "never"
    saved = numbers["T"] * (1 - 1 / plain)
    jobs = len(numbers["contributors"])
    return f"{jobs * share / saved:.0f} ({jobs * (share + numbers['T']) / saved:.0f})"


def plot(numbers: Numbers, path: Path) -> None:
    """Test loss after training with each budget, tuned: lower and to the left is better."""
    import matplotlib

    matplotlib.use("agg")
    from matplotlib import pyplot

    figure, axes = pyplot.subplots(figsize=(6.4, 4.2), layout="constrained")
    for name in ordered(numbers["methods"]):
        if name not in PLOTTED:
            continue
        curve = {
            float(ratio): float(np.exp(np.median(np.log(np.array(losses)).mean(0))))
            for ratio, losses in numbers["methods"][name]["test"].items()
        }
        budgets = sorted(curve)
        width = 2.2 if name.startswith("warp") or name == "adamw" else 1.0
        axes.plot([budget * numbers["T"] for budget in budgets], [curve[b] for b in budgets], lw=width, label=name)
    axes.set(xscale="log", yscale="log", xlabel="budget, steps", ylabel="test loss at its end", title=numbers["family"])
    axes.grid(alpha=0.3, which="both")
    axes.legend(fontsize=7)
    figure.savefig(path, dpi=72)
    pyplot.close(figure)
