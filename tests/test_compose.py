"""docker-compose.yml: it parses, asks for its secrets, and keeps everything but the API inside."""

import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import yaml

Service = dict[str, Any]  # YAML: what a service holds is compose's business

ONE_SHOT = {"migrate", "objects-volume"}
RAY = {"dispatcher", "ray-head", "ray-worker", "ray-worker-gpu"}
PASSWORDS = {"warpadam_database_url", "aws_credentials", "postgres_password", "objects_secret_key"}
ROOT_USERS = {"", "root", "0"}


@pytest.fixture(scope="module")
def services(root: Path) -> dict[str, Service]:
    loaded: dict[str, dict[str, Service]] = yaml.safe_load((root / "docker-compose.yml").read_text())
    return loaded["services"]


def test_the_compose_specification_knows_every_field(root: Path) -> None:
    """By the schema that `docker compose config` uses."""
    check = [Path(sys.executable).with_name("check-jsonschema"), "--builtin-schema", "vendor.compose-spec"]
    found = subprocess.run([*check, root / "docker-compose.yml"], capture_output=True, text=True, check=False)
    assert found.returncode == 0, found.stdout


def test_every_variable_that_has_no_default_is_demanded(root: Path) -> None:
    """Compose puts nothing, and says little, where a variable is not set."""
    bare = re.findall(r"(?<!\$)\$\{?([A-Z_]+)(?![A-Z_]*:[-?])", (root / "docker-compose.yml").read_text())
    assert bare == []


def test_gpus_are_for_their_profile_alone(services: dict[str, Service]) -> None:
    gpu = {name for name, service in services.items() if "reservations" in str(service.get("deploy"))}
    assert gpu == {"ray-worker-gpu"}
    (device,) = services["ray-worker-gpu"]["deploy"]["resources"]["reservations"]["devices"]
    assert (device["driver"], device["count"], device["capabilities"]) == ("nvidia", "all", ["gpu"])
    same = {key: value for key, value in services["ray-worker-gpu"].items() if key not in ("profiles", "deploy")}
    assert same == services["ray-worker"], "but for its GPUs it is a worker like any other"


def test_rays_ports_are_on_a_network_without_a_way_out(root: Path, services: dict[str, Service]) -> None:
    networks = yaml.safe_load((root / "docker-compose.yml").read_text())["networks"]
    assert networks["inside"] == {"internal": True}
    outside = {name for name, service in services.items() if set(service["networks"]) != {"inside"}}
    assert outside == {"api"}


def test_every_part_of_the_house_is_there(services: dict[str, Service]) -> None:
    assert set(services) == {"postgres", "objects", "api", *RAY, *ONE_SHOT}


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


def test_secrets_are_files_that_are_demanded_and_never_defaulted(root: Path, tmp_path: Path) -> None:
    text = (root / "docker-compose.yml").read_text()
    secrets: dict[str, dict[str, str]] = yaml.safe_load(text)["secrets"]
    assert all(re.fullmatch(r"\$\{WARPADAM_SECRETS:\?[^}]+\}/" + name, each["file"]) for name, each in secrets.items())
    assert not re.search(r"\$\{[A-Z_]*(PASSWORD|TOKEN|KEY)", text)
    for _ in range(2):
        subprocess.run([root / "docker/make-secrets", tmp_path / "made"], check=True, capture_output=True)
        made = {path.name: path.read_text() for path in (tmp_path / "made").iterdir()}
        assert set(made) == set(secrets)
    assert (tmp_path / "made").stat().st_mode & 0o077 == 0
    assert len({value for name, value in made.items() if name != "aws_credentials"}) == 4
    assert made["postgres_password"] in made["warpadam_database_url"]
    assert made["objects_secret_key"] in made["aws_credentials"]


def test_every_secret_that_is_used_is_there(services: dict[str, Service], root: Path) -> None:
    known = yaml.safe_load((root / "docker-compose.yml").read_text())["secrets"]
    assert {name for service in services.values() for name in service.get("secrets", ())} == set(known)


def test_every_ray_process_wants_the_token(services: dict[str, Service]) -> None:
    for name in RAY:
        assert services[name]["environment"]["RAY_AUTH_MODE"] == "token", name
        assert "ray_auth_token" in services[name]["secrets"], name


def test_workers_hold_no_way_to_the_database(services: dict[str, Service]) -> None:
    for name in ("ray-worker", "ray-worker-gpu"):
        assert not PASSWORDS & set(services[name]["secrets"]), name
        assert not [key for key in services[name]["environment"] if key.startswith(("WARPADAM_", "POSTGRES_", "AWS_"))]
        assert "volumes" not in services[name]
    assert "--num-cpus=0" in services["ray-head"]["command"]  # it holds them, so nothing trains there


def test_root_file_systems_cannot_be_written(services: dict[str, Service]) -> None:
    assert all(service["read_only"] and service["cap_drop"] == ["ALL"] for service in services.values())


def test_images_are_pinned_and_gpus_are_asked_for(services: dict[str, Service], root: Path) -> None:
    assert re.fullmatch(r"postgres:\d+\.\d+-\w+", services["postgres"]["image"])
    assert re.fullmatch(r"versity/versitygw:v\d+\.\d+\.\d+", services["objects"]["image"])
    assert re.search(r"^ARG PYTHON_IMAGE=python:3\.11\.\d+-", (root / "docker/Dockerfile").read_text(), re.MULTILINE)
    with_profile = {name for name, service in services.items() if "profiles" in service}
    assert with_profile == {"ray-worker-gpu"}
