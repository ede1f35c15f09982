"""docker-compose.yml: it parses, asks for its secrets, and keeps everything but the API inside."""

import re
from pathlib import Path
from typing import Any

import pytest
import yaml

Service = dict[str, Any]  # YAML: what a service holds is compose's business

ONE_SHOT = {"migrate"}
ROOT_USERS = {"", "root", "0"}


@pytest.fixture(scope="module")
def services(root: Path) -> dict[str, Service]:
    loaded: dict[str, dict[str, Service]] = yaml.safe_load((root / "docker-compose.yml").read_text())
    return loaded["services"]


def test_every_part_of_the_house_is_there(services: dict[str, Service]) -> None:
    assert set(services) == {"postgres", "migrate", "api", "dispatcher", "ray-head", "ray-worker", "ray-worker-gpu"}


def test_every_service_has_a_health_check_or_runs_once(services: dict[str, Service]) -> None:
    for name, service in services.items():
        if name in ONE_SHOT:
            assert service["restart"] == "no"
        else:
            assert service["healthcheck"]["test"], name


def test_nobody_is_root(services: dict[str, Service], root: Path) -> None:
    for name, service in services.items():
        assert str(service.get("user", "")).split(":")[0] not in ROOT_USERS, name
    stages = re.split(r"^FROM ", (root / "docker/Dockerfile").read_text(), flags=re.MULTILINE)
    for target in ("service", "ray"):
        stage = next(text for text in stages if text.splitlines()[0].endswith(f" AS {target}"))
        assert re.search(r"^USER 10001$", stage, flags=re.MULTILINE), target


def test_only_the_api_is_published_and_only_on_loopback(services: dict[str, Service]) -> None:
    published = {name: service["ports"] for name, service in services.items() if "ports" in service}
    assert set(published) == {"api"}
    assert all(port.startswith("127.0.0.1:") for port in published["api"])
    assert all("network_mode" not in service for service in services.values())


def test_secrets_are_demanded_and_never_defaulted(root: Path) -> None:
    text = (root / "docker-compose.yml").read_text()
    for secret in ("POSTGRES_PASSWORD", "RAY_AUTH_TOKEN"):
        uses = re.findall(r"\$\{" + secret + r"([^}]*)\}", text)
        assert uses
        assert all(use.startswith(":?") for use in uses), f"{secret} must be an error where it is not set"


def test_every_ray_process_wants_the_token(services: dict[str, Service]) -> None:
    for name in ("dispatcher", "ray-head", "ray-worker", "ray-worker-gpu"):
        assert services[name]["environment"]["RAY_AUTH_MODE"] == "token", name


def test_workers_hold_no_way_to_the_database(services: dict[str, Service]) -> None:
    for name in ("ray-head", "ray-worker", "ray-worker-gpu"):
        assert not [key for key in services[name]["environment"] if key.startswith(("WARPADAM_", "POSTGRES_"))], name


def test_images_are_pinned_and_gpus_are_asked_for(services: dict[str, Service], root: Path) -> None:
    assert re.fullmatch(r"postgres:\d+\.\d+-\w+", services["postgres"]["image"])
    assert re.search(r"^ARG PYTHON_IMAGE=python:3\.11\.\d+-", (root / "docker/Dockerfile").read_text(), re.MULTILINE)
    with_profile = {name for name, service in services.items() if "profiles" in service}
    assert with_profile == {"ray-worker-gpu"}
