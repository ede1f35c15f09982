"""docker/Dockerfile and deploy/kuberay: their own validators accept them, and they keep the promises of compose."""

import subprocess
import sys
from pathlib import Path
from typing import Any

import kubernetes_validate
import pytest
import yaml

from tests.require import require_module

Manifest = dict[str, Any]  # YAML: what a manifest holds is Kubernetes' business

KUBERNETES = "1.34"


@pytest.fixture(scope="module")
def folder(root: Path) -> Path:
    return root / "deploy" / "kuberay"


@pytest.fixture(scope="module")
def manifests(folder: Path) -> list[Manifest]:
    named = yaml.safe_load((folder / "kustomization.yaml").read_text())["resources"]
    assert {*named, "kustomization.yaml"} == {path.name for path in folder.iterdir()}
    return [each for name in named for each in yaml.safe_load_all((folder / name).read_text())]


def of_kind(manifests: list[Manifest], kind: str) -> dict[str, Manifest]:
    return {each["metadata"]["name"]: each for each in manifests if each["kind"] == kind}


def pods(manifests: list[Manifest]) -> dict[str, Manifest]:
    """Every pod's template, by what makes it."""
    found = {
        each["metadata"]["name"]: each["spec"]["template"]
        for each in manifests
        if each["kind"] in ("Deployment", "StatefulSet", "Job")
    }
    ray = of_kind(manifests, "RayCluster")["warpadam"]["spec"]
    groups = {group["groupName"]: group["template"] for group in ray["workerGroupSpecs"]}
    return {**found, **groups, "head": ray["headGroupSpec"]["template"]}


def test_the_dockerfile_is_clean(root: Path) -> None:
    require_module("hadolint", "it carries hadolint") if sys.platform != "linux" else None
    hadolint = Path(sys.executable).with_name("hadolint")
    found = subprocess.run([hadolint, root / "docker/Dockerfile"], capture_output=True, text=True, check=False)
    assert (found.returncode, found.stdout) == (0, "")


def test_kubernetes_knows_every_field(manifests: list[Manifest]) -> None:
    known = [each for each in manifests if each["kind"] != "RayCluster"]
    bare = [
        {"apiVersion": "v1", "kind": "Pod", "metadata": {"name": name}, "spec": template["spec"]}
        for name, template in pods(manifests).items()
    ]
    for each in [*known, *bare]:
        kubernetes_validate.validate(each, KUBERNETES, strict=True)


def test_nobody_is_root_and_no_privilege_is_gained(manifests: list[Manifest]) -> None:
    for name, template in pods(manifests).items():
        assert template["spec"]["securityContext"]["runAsNonRoot"], name
        assert not template["spec"]["automountServiceAccountToken"], name
        for container in template["spec"]["containers"]:
            assert container["securityContext"]["capabilities"] == {"drop": ["ALL"]}, name
            assert not container["securityContext"]["allowPrivilegeEscalation"], name


def test_secrets_are_named_and_not_written(manifests: list[Manifest]) -> None:
    assert not of_kind(manifests, "Secret")
    holders = {
        name
        for name, template in pods(manifests).items()
        if any("secret" in volume for volume in template["spec"].get("volumes", ()))
    }
    assert holders == {"api", "dispatcher", "migrate", "head"}


def test_training_workers_reach_ray_and_names_only(manifests: list[Manifest]) -> None:
    ray = of_kind(manifests, "RayCluster")["warpadam"]["spec"]
    assert ray["authOptions"] == {"mode": "token"}
    assert ray["gcsFaultToleranceOptions"]["redisAddress"] == "redis:6379"
    assert ray["headGroupSpec"]["rayStartParams"]["num-cpus"] == "0"
    policies = of_kind(manifests, "NetworkPolicy")
    assert policies["nothing-comes-in"]["spec"] == {"podSelector": {}, "policyTypes": ["Ingress"]}
    workers = policies["training-workers"]["spec"]
    assert workers["policyTypes"] == ["Egress"]
    assert all(group["template"]["metadata"]["labels"]["role"] == "worker" for group in ray["workerGroupSpecs"])
    assert {port["port"] for rule in workers["egress"] for port in rule.get("ports", ())} == {53}


def test_ray_is_the_version_of_the_images(manifests: list[Manifest], root: Path) -> None:
    version = of_kind(manifests, "RayCluster")["warpadam"]["spec"]["rayVersion"]
    assert f"ray[default,train]=={version}" in (root / "pyproject.toml").read_text()
