"""Ray Train's trainer without the helpers that no group of ours needs: it starts sooner by a process for each."""

from typing import ClassVar

from ray.train.torch import TorchTrainer
from ray.train.v2._internal.callbacks.datasets import DatasetsCallback
from ray.train.v2._internal.callbacks.placement_group_callback import PlacementGroupCleanerCallback
from ray.train.v2.api.callback import RayTrainCallback


class Trainer(TorchTrainer):
    """Without a manager of Ray's datasets. Ours come with the plan, and workers would wait until that process has
    started, which takes as long as it takes to import Ray Data."""

    unneeded: ClassVar[tuple[type[RayTrainCallback], ...]] = (DatasetsCallback,)

    def _create_default_callbacks(self) -> list[RayTrainCallback]:
        made: list[RayTrainCallback] = super()._create_default_callbacks()  # type: ignore[misc]  # types of V1
        return [each for each in made if not isinstance(each, self.unneeded)]


class TrainerWithoutDashboard(Trainer):
    """For a Ray without a dashboard, where Train's cleaner of placement groups can learn nothing.

    It is a detached actor that asks the dashboard whether the controller lives. Where there is none, and this driver is
    killed, it stays for as long as Ray's head does. Nobody needs it there: Ray takes a dead driver's placement groups
    back by itself.
    """

    unneeded = (DatasetsCallback, PlacementGroupCleanerCallback)
