"""Our own rules for what is in docker/: versions agree, doors are closed, no secret is written down."""

import re
import tomllib
from importlib.metadata import entry_points

import pytest
from typer.core import TyperGroup
from typer.main import get_command

from tests.docker.manifests import DOCKER, DOCKERFILE, ROOT, compose, documents, image_environment, pods
from tuner.cli.app import app

VERSION = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["version"]
RAY = re.search(r"^ray==(.+)$", (ROOT / "constraints.txt").read_text(), flags=re.MULTILINE)[1]
SERVICES = compose("compose.yaml")["services"]
PODS = pods()
TEXTS = {
    str(path.relative_to(DOCKER)): path.read_text()
    for path in sorted(DOCKER.rglob("*"))
    if path.is_file() and path.parent.name not in ("secrets", "__pycache__")
}
EVERY_SERVICE = pytest.mark.parametrize("service", SERVICES.values(), ids=SERVICES)
EVERY_POD = pytest.mark.parametrize("pod", PODS.values(), ids=PODS)
EVERY_TEXT = pytest.mark.parametrize("text", TEXTS.values(), ids=TEXTS)
SECRET_NAME = re.compile(r"PASSWORD|TOKEN|SECRET|KEY|CREDENTIAL")


@EVERY_TEXT
def test_our_image_and_ray_have_the_versions_of_the_project(text):
    assert set(re.findall(r"adversarial-tuner:(\d[\d.]*)", text)) <= {VERSION}
    assert set(re.findall(r"rayproject/ray:(\d[\d.]*)", text)) <= {RAY}
    assert set(re.findall(r'rayVersion: "(.+?)"', text)) <= {RAY}


def test_versions_are_named_where_they_are_needed():
    assert f"ARG VERSION={VERSION}\n" in DOCKERFILE
    assert all(f'rayVersion: "{RAY}"' in TEXTS[f"kuberay/{name}.yaml"] for name in ("cluster", "job"))
    images = {service["image"] for service in SERVICES.values()} | {container(pod)["image"] for pod in PODS.values()}
    assert {image.partition(":")[0] for image in images} == {"adversarial-tuner", "postgres"}
    assert all(re.fullmatch(r"[a-z-]+:\d[\w.-]*", image) for image in images)


def test_the_base_is_for_the_builder_to_choose():
    stages = re.findall(r"^FROM (\S+)", DOCKERFILE, flags=re.MULTILINE)
    assert re.search(r"^ARG BASE=\S+:\d\S*$", DOCKERFILE, flags=re.MULTILINE)
    assert stages == ["${BASE}", "${BASE}"]


def test_the_image_is_an_ordinary_user_and_knows_whether_it_is_well():
    assert re.findall(r"^USER (\S+)", DOCKERFILE, flags=re.MULTILINE)[-1] == "10001:10001"
    assert re.search(r'^HEALTHCHECK .* CMD \["healthcheck"\]$', DOCKERFILE, flags=re.MULTILINE)


def test_the_image_sets_what_a_sweep_on_a_cluster_needs():
    environment = image_environment()
    assert environment["RAY_AUTH_MODE"] == "token"
    assert (environment["RAY_JOB_STOP_SIGNAL"], environment["RAY_JOB_STOP_WAIT_TIME_S"]) == ("SIGINT", "60")
    assert environment["TUNER_HOME"].startswith("/shared/")
    assert not any(SECRET_NAME.search(name) for name in environment)


def test_what_is_copied_into_the_image_is_let_through():
    ignored = (DOCKER / "Dockerfile.dockerignore").read_text().splitlines()
    copied = re.findall(r"docker/\w+", *re.findall(r"^COPY (docker/.+)$", DOCKERFILE, flags=re.MULTILINE))
    assert copied
    assert ignored[1] == "*"
    assert {f"!{path}" for path in copied} <= set(ignored)
    assert all((ROOT / line[1:]).exists() for line in ignored if line.startswith("!"))


@EVERY_SERVICE
def test_services_can_do_no_more_than_they_must(service):
    assert service["read_only"] is True
    assert service["cap_drop"] == ["ALL"]
    assert service["security_opt"] == ["no-new-privileges:true"]
    assert re.fullmatch(r"[1-9]\d*:[1-9]\d*", service["user"])
    assert service["mem_limit"]
    assert service["pids_limit"]
    assert not {"privileged", "cap_add", "network_mode", "pid", "ipc", "devices"} & set(service)
    assert not any("docker.sock" in volume["source"] for volume in service.get("volumes", ()))


@EVERY_SERVICE
def test_ports_are_open_on_this_machine_alone(service):
    assert all(port["host_ip"] == "127.0.0.1" for port in service.get("ports", ()))


@EVERY_SERVICE
def test_services_wait_for_what_they_need(service):
    for name, how in service.get("depends_on", {}).items():
        assert how["condition"] == "service_healthy"
        assert SERVICES[name]["image"].startswith("adversarial-tuner:") or "healthcheck" in SERVICES[name]


@EVERY_SERVICE
def test_secrets_come_from_files(service):
    mounted = {secret["target"] for secret in service.get("secrets", ())}
    for name, value in service.get("environment", {}).items():
        if SECRET_NAME.search(name):
            assert name.endswith("_FILE")
            assert value in mounted


def test_every_secret_is_made():
    made = set(re.search(r"for name in (.+?); do", TEXTS["secrets.sh"], flags=re.DOTALL)[1].replace("\\", "").split())
    assert made == set(compose("compose.yaml")["secrets"])
    assert made == {secret["source"] for service in SERVICES.values() for secret in service.get("secrets", ())}
    assert set(re.findall(r"^role \w+ (\w+)$", TEXTS["databases.sh"], flags=re.MULTILINE)) <= made


@EVERY_TEXT
def test_no_url_holds_a_password(text):
    assert not re.search(r"://[^/\s@]*:[^/\s@]+@", text)


@EVERY_SERVICE
def test_what_is_started_is_there(service):
    name, *arguments = service["command"]
    if not service["image"].startswith("adversarial-tuner:"):
        return
    scripts = {script.name for script in entry_points(group="console_scripts")}
    assert name in scripts | set(re.findall(r"docker/(\w+)", DOCKERFILE))
    command = get_command(app) if name == "tuner" else None
    while isinstance(command, TyperGroup):
        command = command.commands[arguments.pop(0)]


def container(pod):
    (only,) = pod["spec"]["containers"]
    return only


@EVERY_POD
def test_pods_can_do_no_more_than_they_must(pod):
    context = container(pod)["securityContext"]
    assert pod["spec"]["securityContext"]["runAsNonRoot"] is True
    assert pod["spec"]["securityContext"]["runAsUser"] == 10001
    assert pod["spec"]["securityContext"]["seccompProfile"] == {"type": "RuntimeDefault"}
    assert context["allowPrivilegeEscalation"] is False
    assert context["readOnlyRootFilesystem"] is True
    assert context["capabilities"] == {"drop": ["ALL"]}
    assert container(pod)["resources"]["limits"] == container(pod)["resources"]["requests"]
    assert not {"hostNetwork", "hostPID", "hostIPC"} & set(pod["spec"])


@EVERY_POD
def test_pods_get_secrets_by_reference(pod):
    variables = container(pod).get("env", ())
    assert all("value" not in variable for variable in variables if SECRET_NAME.search(variable["name"]))


@EVERY_POD
def test_the_network_policy_holds_for_every_pod(pod):
    claim, policy = documents(DOCKER / "kuberay" / "common.yaml")
    assert policy["spec"]["podSelector"]["matchLabels"].items() <= pod["metadata"]["labels"].items()
    assert set(policy["spec"]["policyTypes"]) == {"Ingress", "Egress"}
    claims = {volume.get("persistentVolumeClaim", {}).get("claimName") for volume in pod["spec"]["volumes"]}
    assert claims <= {claim["metadata"]["name"], None}


@pytest.mark.parametrize("name", ["cluster", "job"])
def test_ray_on_kubernetes_asks_for_its_token_and_keeps_its_head_free(name):
    (resource,) = documents(DOCKER / "kuberay" / f"{name}.yaml")
    spec = resource["spec"].get("rayClusterSpec", resource["spec"])
    assert spec["authOptions"] == {"mode": "token", "secretName": "tuner-ray-token"}
    assert spec["headGroupSpec"]["rayStartParams"]["num-cpus"] == "0"
    assert resource["kind"] == "RayCluster" or resource["spec"]["backoffLimit"] > 0
