"""The demo, step by step. It talks to the service over HTTP, and to the `warpadam` command, as any user does."""

import json
import os
import shlex
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from itertools import count
from pathlib import Path
from typing import Any

from rich.console import Console

from warpadam.client import Client
from warpadam.demo import report
from warpadam.demo.corpus import cut
from warpadam.demo.embedded import embedded_service
from warpadam.demo.plan import BASE_DOMAIN, BASE_STEPS, CONTRIBUTING_DOMAINS, HELD_OUT_DOMAIN, LEARNING_RATES, Plan
from warpadam.demo.watch import ran_together, wait_for_all
from warpadam.sdk.errors import NotFound, WarpAdamError
from warpadam.sdk.models import StartVersion, WarpVersion

Json = dict[str, Any]

START_WITHIN_S = 60.0


@dataclass(frozen=True)
class Sizes:
    """How much is trained: T, the learning rates that both methods get, and the base's steps."""

    steps: int
    learning_rates: tuple[float, ...] = LEARNING_RATES
    base_steps: int = BASE_STEPS


def run(output: Path, sizes: Sizes, *, quiet: bool) -> None:
    """Runs everything and prints the JSON line last. With `quiet` the rest goes to standard error."""
    began = time.monotonic()
    console = Console(stderr=quiet, highlight=False)
    output.mkdir(parents=True, exist_ok=True)
    data_dir = output / "data"
    console.print("[bold]1[/]  Starting the service: SQLite, a local Ray, a free port …")
    with _ended_by_sigterm(), embedded_service(data_dir) as url, Client(url) as client:
        console.print(f"   It is up after {time.monotonic() - began:.1f} s. Watch the jobs at {url}", soft_wrap=True)
        result = _main_job(client, output, sizes, console)
    console.print(f"Done in {time.monotonic() - began:.0f} s. To go on by hand:")
    for line in next_steps(result["family"], data_dir):
        console.print(f"   {line}", markup=False, soft_wrap=True)
    sys.stdout.flush()
    print(json.dumps(result), flush=True)  # noqa: T201 - the promised last line


@contextmanager
def _ended_by_sigterm() -> Iterator[None]:
    """SIGTERM unwinds, so that the service is ended too."""
    before = signal.signal(signal.SIGTERM, lambda *_: sys.exit(128 + signal.SIGTERM))
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, before)


def next_steps(family: str, data_dir: Path) -> list[str]:
    """Command lines that can be copied as they are."""
    script = Path(sys.executable).with_name("warpadam")
    here = Path.cwd()
    shown = script.relative_to(here) if script.is_relative_to(here) else script
    command = shlex.quote(str(shown)) if script.exists() else f"{shlex.quote(sys.executable)} -m warpadam.cli"
    return [
        f"{command} serve --data-dir {shlex.quote(str(data_dir))}   # then open http://127.0.0.1:8000",
        f"{command} jobs --family {family}   # in another terminal",
        f"{command} warps list {family}",
        f"{command} submit --help",
    ]


def _main_job(client: Client, output: Path, sizes: Sizes, console: Console) -> Json:
    plan = Plan(fresh_family(client), sizes.steps, sizes.learning_rates, sizes.base_steps)
    datasets = _register(client, console)
    base = _train_base(client, plan, datasets[BASE_DOMAIN], console)
    start = _learn(client, plan, datasets, base, console)
    version = client.warps.get(plan.family)
    runs = _held_out(client, plan, datasets[HELD_OUT_DOMAIN], base, version.version, start, console)
    return _conclude(client, plan, version, start, runs, output, console)


def fresh_family(client: Client) -> str:
    """`stdlib-text`, or the first `stdlib-text-N` that no earlier demo used."""
    for number in count(1):
        name = "stdlib-text" if number == 1 else f"stdlib-text-{number}"
        try:
            client.families.get(name)
        except NotFound:
            return name
    raise AssertionError("count() has no end")


def _register(client: Client, console: Console) -> dict[str, str]:
    console.print("[bold]2[/]  Registering text domains cut from Python's standard library …")
    ids = {}
    with tempfile.TemporaryDirectory() as folder:
        for domain in (BASE_DOMAIN, *CONTRIBUTING_DOMAINS, HELD_OUT_DOMAIN):
            dataset = client.datasets.create(cut(domain, Path(folder)), name=domain, format="text")
            ids[domain] = dataset.id
            role = {BASE_DOMAIN: "base", HELD_OUT_DOMAIN: "held out: nobody learns from it"}.get(domain, "contributes")
            console.print(f"   {domain:<16}{dataset.size or 0:>9,} bytes   {role}")
    return ids


def _train_base(client: Client, plan: Plan, dataset: str, console: Console) -> str:
    console.print("[bold]3[/]  Training one base transformer …")
    job = client.jobs.create(plan.base_job(dataset))
    wait_for_all([job], "base", console)
    return f"{job.id}/last"


def _learn(client: Client, plan: Plan, datasets: dict[str, str], base: str, console: Console) -> StartVersion:
    """The family's start that follows from all contributors."""
    console.print(
        f"[bold]4[/]  {len(CONTRIBUTING_DOMAINS)} fine-tuning jobs from it contribute to family {plan.family} …"
    )
    specs = [plan.contributing_job(domain, datasets[domain], base) for domain in CONTRIBUTING_DOMAINS]
    jobs = [client.jobs.create(spec) for spec in specs]
    wait_for_all(jobs, "learn", console)
    console.print(f"   up to {ran_together(jobs)} of them were running at the same time")
    for version in sorted(client.warps.list(plan.family), key=lambda version: version.version):
        console.print(
            f"   {plan.family}@{version.version}: {len(version.jobs)} jobs, {version.steps} steps, "
            f"{len(version.keys)} axes, sha256 {version.sha256[:12]}…"
        )
    start = _grown(client, plan.family, len(jobs))
    console.print(f"   start {start.version}: the weighted average of their {len(start.jobs)} final weights")
    return start


def _grown(client: Client, family: str, jobs: int) -> StartVersion:
    """The start of so many jobs; the meta-learner makes it within seconds of the last one's success."""
    deadline = time.monotonic() + START_WITHIN_S
    while time.monotonic() < deadline:
        newest = next(client.starts.list(family), None)
        if newest is not None and len(newest.jobs) == jobs:
            return newest
        time.sleep(0.2)
    raise WarpAdamError(f"no start of all {jobs} jobs was made within {START_WITHIN_S:g} s: see the service's log")


def _held_out(
    client: Client, plan: Plan, dataset: str, base: str, version: int, start: StartVersion, console: Console
) -> list[report.Run]:
    budgets, rates = ", ".join(map(str, plan.budgets)), ", ".join(f"{lr:g}" for lr in plan.learning_rates)
    console.print(f"[bold]5[/]  On the held-out domain {HELD_OUT_DOMAIN}: AdamW for {plan.steps} steps,")
    console.print(f"   WarpAdam with P v{version} for {budgets};")
    shorter = ", ".join(map(str, plan.start_budgets))
    console.print(f"   from the family's start v{start.version} too, for {shorter};")
    console.print(f"   each at learning rates {rates} …")
    settings: list[tuple[int, int | None, int | None]] = [
        (plan.steps, None, None),
        *((budget, version, None) for budget in plan.budgets),
        *((budget, version, start.version) for budget in plan.start_budgets),
    ]
    runs = [
        _submit(client, plan, dataset, base, steps, lr, warp, begins)
        for steps, warp, begins in settings
        for lr in plan.learning_rates
    ]
    wait_for_all([run.job for run in runs], "compare", console)
    lineage = {job["dataset"] for job in client.warps.get(f"{plan.family}@{version}").jobs}
    if dataset in lineage or dataset in start.datasets:
        raise WarpAdamError("the held-out domain is behind P or the start; the comparison would not be fair")
    return runs


def _submit(
    client: Client, plan: Plan, dataset: str, base: str, steps: int, lr: float, warp: int | None, start: int | None
) -> report.Run:
    spec = plan.held_out_job(dataset, base, steps=steps, lr=lr, warp=warp, start=start is not None)
    job = client.jobs.create(spec)
    if start is not None and job.start_version != start:
        raise WarpAdamError(f"the job begins with start {job.start_version}, not with {start}")
    return report.Run(job, steps, lr, warp, start)


def _conclude(
    client: Client,
    plan: Plan,
    version: WarpVersion,
    start: StartVersion,
    runs: list[report.Run],
    output: Path,
    console: Console,
) -> Json:
    adamw = report.best(runs, steps=plan.steps, warped=False)
    warped = [report.best(runs, steps=budget, warped=True) for budget in plan.budgets]
    started = [report.best(runs, steps=budget, warped=True, started=True) for budget in plan.start_budgets]
    plot, file = output / "curves.png", output / f"{plan.family}.safetensors"
    report.print_table(console, adamw, [*warped, *started], runs)
    report.print_price(console, len(start.jobs), start_steps := sum(int(job["steps"]) for job in start.jobs))
    report.plot(plot, adamw, [*warped, *started])
    _pull(client, f"{plan.family}@{version.version}", file)
    console.print(f"   curves: {plot}\n   P:      {file}", markup=False, soft_wrap=True)
    return {
        "family": plan.family,
        "warp_version": version.version,
        "warp_sha256": version.sha256,
        "contributing_jobs": len(version.jobs),
        "adamw": adamw.summary(),
        "warpadam": warped[0].summary(),
        "steps_ratio": report.steps_ratio(adamw, warped),
        "steps_ratio_with_start": report.steps_ratio(adamw, started),
        "start_steps": start_steps,
        "plot": str(plot),
    }


def _pull(client: Client, reference: str, file: Path) -> None:
    """By the command, as an engineer would."""
    command = [sys.executable, "-m", "warpadam.cli", "warps", "pull", reference, "-o", str(file)]
    done = subprocess.run(command, env=_environment(client), capture_output=True, text=True, check=False, timeout=60)
    if done.returncode:
        raise WarpAdamError(f"warps pull failed: {done.stderr.strip()}")


def _environment(client: Client) -> dict[str, str]:
    return {**os.environ, "WARPADAM_URL": client.base_url}
