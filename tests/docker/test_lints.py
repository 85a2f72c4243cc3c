"""The files in docker/ as the linters of their trades see them. None of these asks the network."""

import json
import subprocess
import sys
from pathlib import Path

import pytest

from tests.docker.manifests import DOCKER, compose, pods

BIN = Path(sys.executable).parent
COMPOSE = ["compose.yaml", "compose.gpu.yaml"]


def passes(tool, *arguments):
    done = subprocess.run([BIN / tool, *arguments], cwd=DOCKER, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr


def test_hadolint_finds_nothing():
    passes("hadolint", "--failure-threshold", "info", "Dockerfile")


@pytest.mark.parametrize("name", COMPOSE)
def test_compose_files_follow_the_specification(name):
    passes("check-jsonschema", "--builtin-schema", "vendor.compose-spec", name)


def test_compose_lint_finds_nothing_grave():
    passes("compose-lint", "--fail-on", "high", "compose.yaml")


@pytest.mark.parametrize("names", [COMPOSE[:1], COMPOSE])
def test_compose_files_resolve(names):
    assert set(compose(*names)["services"]) == {"postgres", "mlflow", "ray-head", "ray-worker", "optuna-dashboard"}


def test_pods_are_pods(tmp_path):
    """The resources are KubeRay's, whose schemas are not Kubernetes' own; the pods in them are its own."""
    for name, pod in pods().items():
        (tmp_path / f"{name.replace(': ', '-')}.json").write_text(json.dumps(pod))
    passes("kubernetes-validate", "--strict", *sorted(tmp_path.iterdir()))


def test_other_manifests_are_kubernetes():
    passes("kubernetes-validate", "--strict", "kuberay/common.yaml")


def test_ray_takes_the_file_for_ray_up():
    from ray.autoscaler._private.util import prepare_config, validate_config

    from tests.docker.manifests import documents

    (config,) = documents(DOCKER / "cluster.yaml")
    validate_config(prepare_config(config))
