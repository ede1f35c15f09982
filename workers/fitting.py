"""Ray Train around the loop: one worker in the runner's own process, or a group of workers elsewhere.

Both run the same `work`. A worker in this process needs no cluster to start and trains seconds sooner; it is used for
one worker without a GPU. A group takes its plan from a mailbox and loses sight of the service's settings first.
"""

import logging
import os
from pathlib import Path
from typing import Any, Protocol

import ray.train
import torch
from ray.train import ControllerError, FailureConfig, RunConfig, ScalingConfig, TrainingFailedError
from ray.train.torch import TorchConfig, TorchTrainer
from ray.train.v2._internal.exceptions import WorkerGroupStartupTimeoutError

from service.settings import Settings
from service.spec import JobSpec
from workers.code import host
from workers.exchange import Exchange, Interrupted, LearnerExchange, NullExchange, Waiting
from workers.failures import Cause, NotPlacedError, WorkersLostError, classify
from workers.group import Group
from workers.mailbox import (
    Ended,
    Failed,
    Handle,
    Inbox,
    MailboxReporter,
    MailboxSource,
    Source,
    open_mailbox,
    read_plan,
)
from workers.meta.client import LearnerClient
from workers.plan import Plan
from workers.preparing import make_deterministic
from workers.ray_connection import Connection, KeptJoined
from workers.reporting import Event, NullReporter, Outcome, Reporter
from workers.train import train
from workers.trainer import Trainer, TrainerWithoutDashboard

TRAIN_VARIABLES = {
    "RAY_TRAIN_HEALTH_CHECK_INTERVAL_S": "0.1",  # the controller's look at its workers, which starts and ends wait for
    "RAY_TRAIN_ENABLE_PREEMPTION_WATCHER": "0",  # a process more; who preempts tells the runner
}
"""What Train reads from the environment; what is set there already stays."""

ELASTIC_VARIABLES = {"RAY_TRAIN_WORKER_GROUP_START_TIMEOUT_S": "20"}
"""An elastic group that finds no place for so long is tried with fewer workers. Ray may take 15 s to miss a node."""

COLLECTIVE_S = 300
"""A worker that waits for the others for so long gives up: half an hour is the default."""
GROUP_PATIENCE_S = 240.0
"""The leader waits for the meta-learner while the others wait for it, so for less than that."""


class Fit(Protocol):
    """One way to run a plan. `run` returns or raises when the workers have ended; what they told is in `source`."""

    @property
    def source(self) -> Source: ...

    @property
    def leaves_no_trace(self) -> bool: ...

    def run(self) -> None: ...


def fit_for(plan: Plan, settings: Settings, folder: Path) -> Fit:
    """Whichever way suits the job; `folder` is where Train may keep its own files."""
    if trains_here(plan, settings):
        return InProcess(plan, settings)
    has_dashboard = settings.launcher == "ray-jobs"
    return OnCluster(plan, settings.ray_namespace, folder, Trainer if has_dashboard else TrainerWithoutDashboard)


def trains_here(plan: Plan, settings: Settings) -> bool:
    """Whether one worker without a GPU does it, and not on a cluster: runners are on the head, which trains nothing.
    User code never runs where credentials are."""
    resources = plan.spec.resources
    alone = resources.max_workers == 1 and resources.gpus_per_worker == 0
    return alone and not plan.runs_code and settings.launcher == "process"


class InProcess:
    """One worker, here. It trains on where Ray's head dies, and joins the next one to go on contributing."""

    def __init__(self, plan: Plan, settings: Settings) -> None:
        self._plan, self._settings, self._inbox = plan, settings, Inbox()
        self.leaves_no_trace = False
        """Whether this process is as it was before, once `run` has returned."""

    @property
    def source(self) -> Source:
        return self._inbox

    def run(self) -> None:
        if not speaks(self._plan):
            self._train(NullExchange())
            self.leaves_no_trace = True
            return
        connection = KeptJoined(self._settings)
        try:
            namespace = self._settings.ray_namespace
            self._train(exchange_for(self._plan, namespace, self._inbox, connection))
        finally:
            self.leaves_no_trace = connection.close()

    def _train(self, exchange: Exchange) -> None:
        def loop() -> None:
            work(self._plan, Group(), self._inbox, exchange)

        logging.getLogger("ray.train").setLevel(logging.WARNING)  # it announces at each start that this is no cluster
        TorchTrainer(loop, scaling_config=ScalingConfig(num_workers=0)).fit()


class OnCluster:
    """Workers on Ray, each with its CPUs or GPUs; gloo between CPUs, NCCL between GPUs."""

    leaves_no_trace = False

    def __init__(self, plan: Plan, namespace: str, folder: Path, kind: type[Trainer] = TrainerWithoutDashboard) -> None:
        self._plan, self._namespace, self._folder, self._kind = plan, namespace, folder, kind
        self._mailbox = open_mailbox(plan)

    @property
    def source(self) -> Source:
        return MailboxSource(self._mailbox)

    def run(self) -> None:
        elastic = self._plan.is_elastic
        trainer = self._kind(
            _worker,
            train_loop_config={"mailbox": self._mailbox, "namespace": self._namespace},
            scaling_config=_scaling(self._plan),
            run_config=RunConfig(
                name=f"{self._plan.job}-{self._plan.attempt}-{self._plan.group}",
                storage_path=str(self._folder),
                failure_config=_failures(elastic=elastic),
            ),
            torch_config=TorchConfig(backend=_backend(self._plan), timeout_s=COLLECTIVE_S),
        )
        for name, value in {**TRAIN_VARIABLES, **(ELASTIC_VARIABLES if elastic else {})}.items():
            os.environ.setdefault(name, value)
        try:
            trainer.fit()
        except ControllerError as error:
            if isinstance(error.controller_failure, WorkerGroupStartupTimeoutError):
                raise NotPlacedError(f"There was no place for {self._plan.workers} workers in time.") from error
            raise WorkersLostError(f"the workers could not be started: {error}") from error
        except TrainingFailedError as error:
            raise WorkersLostError(f"the workers ended: {str(error).splitlines()[0]}") from error


def _failures(*, elastic: bool) -> FailureConfig:
    """An elastic group that is not placed in time ends; others wait in Ray as long as it takes. None is restarted."""
    limit = 0 if elastic else -1
    return FailureConfig(max_failures=0, controller_failure_limit=limit)  # type: ignore[call-arg]  # types of V1


def _backend(plan: Plan) -> str:
    """Between the workers themselves: one has nobody to talk to, and needs no NCCL for that. What runs user code below
    them makes a group of its own."""
    together = plan.workers > 1 and plan.spec.resources.gpus_per_worker > 0
    return "nccl" if together and not plan.runs_code else "gloo"


def _scaling(plan: Plan) -> ScalingConfig:
    resources = plan.spec.resources
    each: dict[str, float] = {"CPU": resources.cpus_per_worker}
    if resources.gpus_per_worker:
        each["GPU"] = resources.gpus_per_worker
    return ScalingConfig(num_workers=plan.workers, use_gpu=bool(resources.gpus_per_worker), resources_per_worker=each)


def _worker(config: dict[str, Any]) -> None:
    """What each worker of a group runs."""
    forget_settings()
    context = ray.train.get_context()
    mailbox: Handle = config["mailbox"]
    reporter = MailboxReporter(mailbox)
    try:
        plan = read_plan(mailbox)
        rank, world = context.get_world_rank(), context.get_world_size()
        exchange = exchange_for(plan, config["namespace"], reporter) if rank == 0 else NullExchange()
        if plan.runs_code:
            host.run(plan, Group(rank, world), reporter, exchange, str(_free_device(plan.spec)))
        else:
            work(plan, Group(rank, world, _device(plan.spec)), reporter, exchange)
    except Exception as error:
        reporter.post(Failed(context.get_world_rank(), classify(error)))
        raise
    finally:
        reporter.close()


def _device(spec: JobSpec) -> torch.device:
    """The GPU of this worker, which is used from here on."""
    device = _free_device(spec)
    if device.type == "cuda":
        torch.cuda.set_device(device)
    return device


def _free_device(spec: JobSpec) -> torch.device:
    """The GPU that Ray gave this worker, where the job asked for one and there is one; a pretended one is none."""
    if not (spec.resources.gpus_per_worker and torch.cuda.is_available()):
        return torch.device("cpu")
    device: torch.device = ray.train.torch.get_device()
    return device


def work(plan: Plan, group: Group, reporter: "Inbox | MailboxReporter", exchange: Exchange) -> None:
    """Trains, and posts how it ended. The leader tells; the others have nobody to tell."""
    make_deterministic(group.device, int(plan.spec.resources.cpus_per_worker))
    listener: Reporter = reporter if group.leads else NullReporter()
    try:
        outcome = train(plan, group, listener, exchange)
    except Interrupted as interrupted:  # at the very end, where it waited for its version of P
        outcome = Outcome(plan.steps, 0.0, stopped=interrupted.reason)
    if group.leads:
        reporter.post(Ended(outcome))


def speaks(plan: Plan) -> bool:
    """Whether the job has something to say to its family's meta-learner, or to ask."""
    return plan.contributes or plan.spec.optimizer.follow


def exchange_for(
    plan: Plan, namespace: str, reporter: Reporter, connection: Connection | None = None
) -> LearnerExchange | NullExchange:
    """The job's line to its family's meta-learner; a null one where it has nothing to say or to ask."""
    if not speaks(plan):
        return NullExchange()
    options = plan.spec.optimizer
    follow = str(options.warp) if options.follow else None
    client = LearnerClient(plan.family_id, namespace, connection)
    waiting = Waiting(
        stop=reporter.stop,
        warn=lambda text: reporter.post(Event("warning", text, level="warning")),
        patience_s=Waiting.patience_s if plan.workers == 1 else GROUP_PATIENCE_S,
    )
    return LearnerExchange(client, plan.job, plan.token, follow=follow, version=plan.warp_version, waiting=waiting)


def forget_settings() -> None:
    """Takes the service's variables out of this process: a worker has no business with databases."""
    for name in list(os.environ):
        if name.startswith("WARPADAM_"):
            del os.environ[name]


def last_word(notes: "list[Ended | Failed]") -> Ended | Cause | None:
    """What counts of the workers' last words: the first failure, for the others only follow from it; else the end.

    A failure of the user's goes before others: that a worker was lost is what the others see of it.
    """
    failed = [note.cause for note in notes if isinstance(note, Failed)]
    if failed:
        return next((cause for cause in failed if cause.category == "user"), failed[0])
    return next((note for note in notes if isinstance(note, Ended)), None)
