"""`python -m benchmarks.step`: measures, prints and writes `step.json` and `step.md`."""

import argparse
import json
import os
import platform
from pathlib import Path

import torch

from benchmarks.step.measure import Result, cheaper, memory, steps
from benchmarks.step.subject import subject

CPU_MODEL = {"layers": 3, "width": 512}
GPU_MODEL = {"layers": 32, "width": 512}
QUICK_MODEL = {"layers": 1, "width": 128}


def main() -> None:
    options = _options()
    torch.set_num_threads(options.threads or torch.get_num_threads())
    report: dict[str, object] = {
        "machine": _machine(),
        "cpu": _measure(QUICK_MODEL if options.quick else CPU_MODEL, options.repeats, "cpu", torch.float32),
        "gpu": "not measured: no GPU is here",
    }
    if torch.cuda.is_available():
        report["gpu"] = _measure(GPU_MODEL, options.repeats, "cuda", torch.bfloat16)
    options.out.mkdir(parents=True, exist_ok=True)
    (options.out / "step.json").write_text(json.dumps(report, indent=2, ensure_ascii=False) + "\n")
    text = markdown(report)
    (options.out / "step.md").write_text(text)
    print(text)  # noqa: T201


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.step", description=__doc__)
    parser.add_argument("--out", type=Path, default=Path("benchmarks/step/results"))
    parser.add_argument("--repeats", type=int, default=15)
    parser.add_argument("--threads", type=int, default=None, help="of torch; default: torch's own choice")
    parser.add_argument("--quick", action="store_true", help="a model of 0.2 M parameters instead of 10 M")
    return parser.parse_args()


def _measure(model: dict[str, int], repeats: int, device: str, dtype: torch.dtype) -> dict[str, object]:
    place = torch.device(device)
    found = subject(**model, device=place, dtype=dtype)
    results, seconds = steps(found, repeats, place)
    results += memory(found)
    return {
        "parameters": found.weights,
        "dtype": str(dtype).removeprefix("torch."),
        "results": [_row(result) for result in results],
        "seconds": seconds,
        "cheaper": cheaper(found, max(3, repeats // 2), place),
    }


def _row(result: Result) -> dict[str, object]:
    return {"name": result.name, "value": result.value, "target": result.target, "reached": result.reached}


def _machine() -> dict[str, object]:
    return {
        "system": f"{platform.system()} {platform.machine()}",
        "torch": torch.__version__,
        "threads": torch.get_num_threads(),
        "cores": os.cpu_count(),
        "load": os.getloadavg()[0],
        "gpu": torch.cuda.get_device_name() if torch.cuda.is_available() else None,
    }


def markdown(report: dict[str, object]) -> str:
    """The report as tables."""
    machine = json.dumps(report["machine"])
    lines = ["# What a step costs", "", f"Made by `make bench-step` on {machine}. Medians over turns.", ""]
    for name in ("cpu", "gpu"):
        part = report[name]
        lines += [f"## {name.upper()}", ""]
        if not isinstance(part, dict):
            lines += [f"{part}", ""]
            continue
        lines += [f"{part['parameters'] / 1e6:.1f} M parameters, {part['dtype']}.", ""]
        lines += _table(("what", "value", "at most", "reached"), [_cells(row) for row in part["results"]])
        lines += _table(("seconds", ""), [(key, f"{value:.4f}") for key, value in part["seconds"].items()])
        rows = part["cheaper"]
        lines += _table(tuple(rows[0]), [tuple(_text(value) for value in row.values()) for row in rows])
    return "\n".join(lines)


def _cells(row: dict[str, object]) -> tuple[str, ...]:
    reached = {None: "", True: "yes", False: "**no**"}[row["reached"]]  # type: ignore[index]
    return str(row["name"]), _text(row["value"]), "" if row["target"] is None else _text(row["target"]), reached


def _text(value: object) -> str:
    return f"{value:.3f}" if isinstance(value, float) else str(value)


def _table(head: tuple[str, ...], rows: list[tuple[str, ...]]) -> list[str]:
    lines = [" | ".join(head), " | ".join("---" for _ in head), *(" | ".join(row) for row in rows)]
    return [*(f"| {line} |" for line in lines), ""]


if __name__ == "__main__":
    main()
