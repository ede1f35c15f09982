"""Which launcher the settings mean, and what goes to Ray with its jobs."""

from pathlib import Path

import pytest

from service.settings import Settings
from workers.__main__ import launcher_of
from workers.ray_jobs import RayJobsLauncher

CLUSTER = {"launcher": "ray-jobs", "ray_dashboard_url": "http://head:8265"}


def test_no_secret_travels_through_ray(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("WARPADAM_DATABASE_URL", "postgresql://ada:secret@db/warpadam")
    monkeypatch.setenv("WARPADAM_API_KEY", "secret")
    monkeypatch.setenv("WARPADAM_LEASE_S", "20")
    launcher = launcher_of(Settings(secrets_dir=tmp_path, **CLUSTER))  # type: ignore[arg-type]
    assert isinstance(launcher, RayJobsLauncher)
    assert launcher.environment == {"WARPADAM_LEASE_S": "20"}


@pytest.mark.parametrize(
    ("settings", "said"),
    [
        (Settings(launcher="ray-jobs"), "WARPADAM_RAY_DASHBOARD_URL"),
        (Settings(**CLUSTER), "WARPADAM_SECRETS_DIR"),  # type: ignore[arg-type]
        (Settings(launcher="slurm"), "must be process or ray-jobs"),
    ],
)
def test_settings_that_name_no_launcher_say_what_is_missing(settings: Settings, said: str) -> None:
    with pytest.raises(ValueError, match=said):
        launcher_of(settings)
