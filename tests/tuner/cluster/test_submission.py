"""Commands for a cluster: what is sent, what is refused beforehand, and that nothing is begun twice."""

from __future__ import annotations

import io
import json
import shlex
import socket
import subprocess
import zipfile
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.support.heads import TOKEN, Head, playing
from tests.support.plugins import installed, write_package
from tests.tuner.cluster.test_payload import archive
from tests.tuner.conftest import SPACE
from tuner.cli.app import app
from tuner.cli.cluster import job
from tuner.cluster import client as cluster
from tuner.cluster import command, payload, submission
from tuner.cluster.payload import BEGIN, ERROR_MARK, CommandResult, Request
from tuner.errors import UserError
from tuner.sweep.provenance import versions


@pytest.fixture
def head(tmp_path, monkeypatch):
    monkeypatch.setenv("RAY_AUTH_TOKEN", TOKEN)
    monkeypatch.delenv("MLFLOW_TRACKING_URI", raising=False)
    (tmp_path / "tiny.yaml").write_text(SPACE)
    with playing() as one:
        yield one


@pytest.fixture
def there(run, head):
    """Return a function that runs a command on the head's cluster."""
    return lambda *arguments: run(*arguments, "--cluster", head.address)


def words(submitted: dict) -> list[str]:
    return shlex.split(submitted["entrypoint"])


def test_a_launch_takes_its_space_along(there, head: Head, monkeypatch):
    monkeypatch.setenv("MLFLOW_TRACKING_URI", "http://mlflow:5000")
    monkeypatch.setenv("MLFLOW_TRACKING_PASSWORD", "secret2")
    monkeypatch.setenv("PGPASSWORD", "secret3")
    options = ("--trials", "7", "--warm-start", "x", "--warm-start", "y", "--home", "/shared/sweeps", "--detach")
    assert there("launch", "tiny.yaml", *options) == (0, "")
    (submitted,) = head.jobs.values()
    assert submitted["submission_id"] == "tuner-tiny"
    assert words(submitted)[:6] == ["exec", "python3", "-P", "-m", "tuner", "job"]
    sent = "launch --name tiny --trials 7 --warm-start x --warm-start y --home /shared/sweeps tiny.yaml"
    assert words(submitted)[6:] == shlex.split(sent)
    request = Request.decode(submitted["metadata"]["tuner.request"])
    assert request == Request(payload.releases(), {"tiny.yaml": SPACE})
    assert submitted["metadata"]["tuner.storage"] == "/shared/sweeps"
    assert submitted["runtime_env"]["env_vars"] == {
        "RAY_JOB_STOP_SIGNAL": "SIGINT",
        "RAY_JOB_STOP_WAIT_TIME_S": "60",
        "MLFLOW_TRACKING_URI": "http://mlflow:5000",
    }
    assert "secret" not in json.dumps(submitted)


def test_a_launch_takes_its_code_along_and_says_which_packages_it_needs(there, head: Head, tmp_path):
    place = write_package(tmp_path, "outsider", "[adversarial_tuner.attacks]\nshift = outside:shift\n")
    (place / "outside.py").write_text("def shift(logits_fn, images, labels, epsilon):\n    return images\n")
    (tmp_path / "net.py").write_text("# größer\r\n")
    (tmp_path / "other").mkdir()
    (tmp_path / "other" / "data.py").write_text("")
    own = SPACE.replace("name: digits", "name: other/data.py:load")
    own = own.replace("evaluation: {", "evaluation: {attacks: [shift], ")
    own = own.replace("parameters:\n", "parameters:\n  classifier: {architecture: net.py:build}\n", 1)
    (tmp_path / "tiny.yaml").write_text(own)
    with installed(place):
        code, printed = there("launch", "tiny.yaml", "--home", "/sweeps")
        assert code == 2, printed
        assert "other/data.py is code that does not lie beside the space" in " ".join(printed.split())
        assert there("launch", "tiny.yaml", "--home", "/sweeps", "--trust") == (0, "")
    (submitted,) = head.jobs.values()
    request = Request.decode(submitted["metadata"]["tuner.request"])
    assert request.files == {"tiny.yaml": own, "net.py": "# größer\r\n", "data.py": ""}
    assert request.versions == {**payload.releases(), "outsider": "1.5"}
    with pytest.raises(UserError, match=r"the cluster has outsider none against 1\.5 here: install the same"):
        payload.check_releases(request.versions, payload.releases(request.versions))


def test_weights_that_a_classifier_starts_from_are_uploaded(there, head: Head, tmp_path, monkeypatch):
    (tmp_path / "weights.pt").write_bytes(b"\x80 first")
    own = SPACE.replace("parameters:\n", "parameters:\n  classifier: {start: weights.pt}\n", 1)
    (tmp_path / "tiny.yaml").write_text(own)
    assert there("launch", "tiny.yaml", "--home", "/sweeps") == (0, "")
    (submitted,), (uploaded,) = head.jobs.values(), head.uploads.items()
    assert submitted["runtime_env"]["working_dir"] == uploaded[0].replace("/api/packages/gcs/", "gcs://")
    with zipfile.ZipFile(io.BytesIO(uploaded[1])) as archive:
        assert archive.read("uploaded-files/weights.pt") == b"\x80 first"
        assert [name for name in archive.namelist() if "/" not in name.strip("/")] in ([], ["uploaded-files/"])
    assert Request.decode(submitted["metadata"]["tuner.request"]).files == {"tiny.yaml": own}

    (tmp_path / "weights.pt").write_bytes(b"\x80 second")
    code, printed = there("launch", "tiny.yaml", "--home", "/sweeps")
    assert code == 2
    assert "has another sweep named 'tiny'" in printed
    monkeypatch.setattr(command, "MAX_UPLOADS", 5)
    code, printed = there("launch", "tiny.yaml", "--name", "other", "--home", "/sweeps")
    assert code == 2
    assert "weights.pt have 0 MB, and a job takes 0 MB along: launch on a machine of the cluster" in printed


def test_a_job_has_what_was_uploaded_in_the_folder_of_its_command(tmp_path, monkeypatch):
    (tmp_path / payload.UPLOADED).mkdir()
    (tmp_path / payload.UPLOADED / "weights.pt").write_bytes(b"\x80")
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("TUNER_HOME", str(tmp_path / "sweeps"))
    seen = []
    monkeypatch.setattr(job, "run_command", lambda tuner: seen.append(sorted(path.name for path in Path().iterdir())))
    job.run(Request(payload.releases(), {"tiny.yaml": SPACE}), ["launch", "tiny.yaml"], app)
    assert seen == [["tiny.yaml", "weights.pt"]]


BAD = {
    "a space with mistakes": (["launch", "wrong.yaml"], {}, "unknown key 'budgit'"),
    "a name that is none": (["launch", "tiny.yaml", "--name", "../a"], {}, "must be 1 to 63"),
    "no trials": (["launch", "tiny.yaml", "--trials", "0"], {}, "--trials"),
    "a storage of this machine": (
        ["status", "--home", "sweeps"],
        {},
        "must be an absolute path on the cluster, or a URL",
    ),
    "a password for MLflow": (
        ["status"],
        {"MLFLOW_TRACKING_URI": "http://me:secret2@host"},
        "holds a user or password",
    ),
    "an address that is none": (["status", "--cluster", "head:8265"], {}, "like http://head:8265"),
    "an address with a password": (["status", "--cluster", "http://me:secret2@head"], {}, "http://***@head"),
}


@pytest.mark.parametrize("what", BAD)
def test_mistakes_are_refused_before_anybody_is_asked(run, head: Head, monkeypatch, tmp_path, what):
    (tmp_path / "wrong.yaml").write_text(SPACE.replace("budget:", "budgit:"))
    arguments, variables, expected = BAD[what]
    for name, value in {"RAY_ADDRESS": head.address, **variables}.items():
        monkeypatch.setenv(name, value)
    code, output = run(*arguments)
    assert code == 2
    assert expected in output.replace("\n", " ")
    assert "secret2" not in output
    assert "Traceback" not in output
    assert head.requests == []


def test_no_password_is_sent(there, head: Head):
    code, output = there("launch", "tiny.yaml", "--study-storage", "postgresql+psycopg://me:secret2@host/db")
    assert code == 2
    assert "PGPASSWORD" in output
    assert "secret2" not in output
    assert head.requests == []


def test_the_same_launch_again_finds_the_first_and_another_is_refused(there, head: Head):
    there("launch", "tiny.yaml")
    code, output = there("launch", "tiny.yaml")
    assert (code, "tiny is there already (job tuner-tiny, succeeded)" in output) == (0, True)
    code, output = there("launch", "tiny.yaml", "--trials", "9")
    assert (code, "has another sweep named 'tiny'" in output) == (2, True)
    assert list(head.jobs) == ["tuner-tiny"]
    there("launch", "tiny.yaml", "--name", "other")
    there("resume", "tiny")
    assert list(head.jobs) == ["tuner-tiny", "tuner-other", "tuner-tiny.2"]


@pytest.mark.parametrize("exit_code", [2, None])
def test_a_launch_that_was_refused_can_be_mended(there, head: Head, exit_code):
    head.ending = {"status": "FAILED", "driver_exit_code": exit_code}
    head.log = f"Ray's own\n{BEGIN}\n{ERROR_MARK}error: a run asks for 8 CPU\n"
    code, output = there("launch", "tiny.yaml")
    assert (code, output) == (exit_code or 1, "error: a run asks for 8 CPU\n")
    there("launch", "tiny.yaml", "--trials", "9")
    assert list(head.jobs) == ["tuner-tiny", "tuner-tiny.2"]


def test_the_driver_log_is_that_of_the_last_job_that_was_not_refused(there, head: Head):
    there("launch", "tiny.yaml")
    head.ending = {"status": "FAILED", "driver_exit_code": 2}
    assert there("resume", "tiny")[0] == 2
    head.log = f"Ray's own\n{BEGIN}\nall its words\n"
    assert there("logs", "tiny") == (0, "all its words\n")
    assert there("logs", "tiny", "--follow") == (0, "all its words\n")
    logs = [request for request in head.requests if request.endswith("/logs")]
    assert logs[-2:] == ["GET /api/jobs/tuner-tiny/logs"] * 2


def test_a_job_of_somebody_else_is_left_alone(there, head: Head):
    head.jobs["tuner-tiny"] = {"type": "SUBMISSION", "submission_id": "tuner-tiny", "entrypoint": "", **head.ending}
    code, output = there("launch", "tiny.yaml")
    assert (code, "somebody else's" in output) == (2, True)
    assert list(head.jobs) == ["tuner-tiny"]


def test_what_could_not_begin_says_why(there, head: Head):
    head.ending, head.log = {"status": "FAILED", "driver_exit_code": 1}, "/usr/bin/python3: No module named tuner\n"
    code, output = there("status")
    assert code == 1
    assert "could not begin" in output
    assert "No module named tuner" in output


def test_a_sweep_is_found_where_it_was_launched(there, head: Head):
    there("launch", "tiny.yaml", "--home", "/shared/sweeps")
    there("resume", "tiny", "--trials", "9")
    assert words(head.jobs["tuner-tiny.2"])[6:] == ["resume", "--home", "/shared/sweeps", "--trials", "9", "tiny"]
    there("resume", "tiny", "--storage", "s3://bucket/elsewhere")
    assert words(head.jobs["tuner-tiny.3"])[6:] == ["resume", "--home", "s3://bucket/elsewhere", "tiny"]
    assert head.jobs["tuner-tiny.3"]["metadata"]["tuner.storage"] == "s3://bucket/elsewhere"


def test_a_query_answers_as_it_would_here_and_is_forgotten(there, head: Head, tmp_path):
    head.log += CommandResult("1,2\n", "a warning\n").encode()
    assert there("compare", "tiny", "--format", "csv") == (0, "1,2\na warning\n")
    head.ending = {"status": "FAILED", "driver_exit_code": 2}
    assert there("compare", "tiny")[0] == 2
    (left,) = head.jobs.values()
    assert left["submission_id"].startswith("tuner.compare.")
    assert Request.decode(left["metadata"]["tuner.request"]).is_captured


def test_an_output_is_made_here_by_its_name(there, head: Head, tmp_path):
    there("trials", "tiny", "--output", str(tmp_path / "deep" / "rows.csv"))
    (submitted,) = head.jobs.values()
    assert words(submitted)[6:] == ["trials", "--output", "rows.csv", "tiny"]
    assert Request.decode(submitted["metadata"]["tuner.request"]).folder == str(tmp_path / "deep")


def test_a_command_line_is_forwarded_as_it_was_typed_but_for_what_is_local(there, head: Head, tmp_path):
    there("compare", "--picture=deep/a.png", "--format=json", "--storage", "/shared", "tiny")
    (submitted,) = head.jobs.values()
    assert words(submitted)[6:] == ["compare", "--format", "json", "--picture", "a.png", "--home", "/shared", "tiny"]
    there("launch", "--max-concurrent", "2", "--trials=7", "tiny.yaml")
    code, output = there("launch", "tiny.yaml", "--name", "tiny", "--trials", "7", "--max-concurrent=2", "--detach")
    assert (code, "tiny is there already" in output) == (0, True)


@pytest.mark.parametrize("command", ["evaluate", "judge"])
def test_a_sweep_is_evaluated_by_the_cluster_and_a_file_here(run, there, head: Head, monkeypatch, tmp_path, command):
    there(command, "tiny", "--images", "4", "--workers", "2")
    (submitted,) = head.jobs.values()
    assert words(submitted)[6:] == ["evaluate", "--images", "4", "--workers", "2", "tiny"]
    assert submitted["submission_id"] == "tuner-tiny"
    monkeypatch.setenv("RAY_ADDRESS", head.address)
    assert "tiny.yaml is no state dict that can be read safely" in run(command, "tiny.yaml")[1]
    assert list(head.jobs) == ["tuner-tiny"]
    run(command, "other")
    assert list(head.jobs) == ["tuner-tiny", "tuner-other"]


def test_an_answer_to_a_launch_that_is_lost_begins_nothing_twice(there, head: Head):
    head.answers_to_lose = 1
    assert there("launch", "tiny.yaml") == (0, "")
    assert list(head.jobs) == ["tuner-tiny"]


def test_two_who_launch_the_same_at_once_have_one(there, head: Head, monkeypatch):
    asked = cluster.Cluster.jobs
    looks = []

    def others_are_faster(self):
        found = asked(self)
        looks.append(found)
        if len(looks) == 1:
            monkeypatch.setattr(cluster.Cluster, "jobs", asked)
            there("launch", "tiny.yaml")
        return found

    monkeypatch.setattr(cluster.Cluster, "jobs", others_are_faster)
    code, output = there("launch", "tiny.yaml")
    assert (code, "is there already" in output) == (0, True)
    assert list(head.jobs) == ["tuner-tiny"]


def test_a_cluster_without_a_token_is_refused_unless_it_is_typed(there, head: Head):
    head.asks_for_a_token = False
    code, output = there("status")
    assert code == 2
    assert "asks for no token" in output
    assert head.jobs == {}
    there("status", "--insecure")
    assert len(head.jobs) == 1


def test_errors_of_the_way_are_told_in_words(run, there, head: Head, monkeypatch):
    monkeypatch.setenv("RAY_AUTH_TOKEN", "wrong")
    assert "the token in RAY_AUTH_TOKEN is not that of" in there("status")[1]
    monkeypatch.delenv("RAY_AUTH_TOKEN")
    monkeypatch.setenv("RAY_AUTH_TOKEN_PATH", "/nowhere")
    assert "wants a token (401)" in there("status")[1]
    monkeypatch.setattr(head, "asks_for_a_token", False)
    monkeypatch.setattr(head, "version", "2.9.0")
    code, output = there("status", "--insecure")
    assert code == 2
    assert f"the cluster has Ray 2.9.0, this machine {versions()['ray']}" in output
    with socket.create_server(("127.0.0.1", 0)) as deaf:
        monkeypatch.setattr(cluster, "TIMEOUT_S", 0.1)
        output = run("status", "--cluster", f"http://127.0.0.1:{deaf.getsockname()[1]}")[1]
        assert "has not answered in 0.1 s" in output
    output = run("status", "--cluster", "http://127.0.0.1:9")[1]
    assert "cannot be reached: is the cluster up" in output
    output = run("status", "--cluster", "https://127.0.0.1:9")[1]
    assert "cannot be reached" in output


def test_a_certificate_is_trusted_by_its_authority_alone(run, head: Head, monkeypatch, tmp_path):
    subject = ["-subj", "/CN=head", "-addext", "subjectAltName=IP:127.0.0.1"]
    files = ["-keyout", str(tmp_path / "key"), "-out", str(tmp_path / "ca")]
    command = ["openssl", "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-days", "2", *subject, *files]
    subprocess.run(command, check=True, capture_output=True)
    head.secure(tmp_path / "ca", tmp_path / "key")
    monkeypatch.delenv("REQUESTS_CA_BUNDLE", raising=False)
    code, output = run("status", "--cluster", head.address)
    assert (code, "REQUESTS_CA_BUNDLE names the file" in output) == (2, True)
    assert head.requests == []
    monkeypatch.setenv("REQUESTS_CA_BUNDLE", str(tmp_path / "ca"))
    head.log += CommandResult("no sweeps", "").encode()
    assert run("status", "--cluster", head.address) == (0, "no sweeps")


@pytest.mark.parametrize(
    "name",
    [
        ".ssh/authorized_keys",
        "exports/tiny-1/.bashrc",
        "../evil",
        "exports/other-1/a.json",
        "exports/tiny-1/evil.py",
        "exports/tiny-1/code/evil.sh",
        "exports/tiny-1/code/deep/evil.py",
        "exports/tiny-1/other/evil.py",
        "code/evil.py",
    ],
)
@pytest.mark.parametrize(
    "command", [["status"], ["export", "tiny"], ["trials", "tiny"], ["trials", "tiny", "--output", "b"]]
)
def test_a_cluster_writes_nothing_here_that_the_command_does_not_make(there, head: Head, tmp_path, command, name):
    before = sorted(tmp_path.rglob("*"))
    head.log += CommandResult("fine\n", "", archive(name)).encode()
    code, output = there(*command)
    assert code == 2, output
    assert "which is no file that this command makes" in output
    assert sorted(tmp_path.rglob("*")) == before


def test_a_bundle_comes_here_as_the_command_makes_it(there, head: Head, tmp_path):
    head.log += CommandResult("fine\n", "", archive("exports/tiny-trial-0001/metrics.json")).encode()
    assert there("export", "tiny") == (0, "fine\n")
    assert (tmp_path / "exports" / "tiny-trial-0001" / "metrics.json").read_bytes() == b"1"
    assert there("export", "tiny")[0] == 2, "it is there already"
    head.log = "--- tuner begins\n" + CommandResult("fine\n", "", archive("mine/metrics.json")).encode()
    assert there("export", "tiny", "--output", "deep/mine") == (0, "fine\n")
    head.log = "--- tuner begins\n" + CommandResult("fine\n", "", archive("other/code/my net.py")).encode()
    assert there("export", "tiny", "--output", "other") == (0, "fine\n")
    assert (tmp_path / "other" / "code" / "my net.py").read_bytes() == b"1"
    assert (tmp_path / "deep" / "mine" / "metrics.json").read_bytes() == b"1"


@pytest.mark.parametrize(
    ("command", "made"),
    [
        (["export", "tiny"], "exports/tiny-trial-0001/model.pt2"),
        (["export", "tiny"], "exports/tiny-trial-0001/model_card.md"),
        (["report", "tiny"], "reports/tiny.html"),
        (["report", "tiny", "--output", "a/b.html"], "b.html"),
    ],
)
def test_every_file_that_a_command_makes_comes_here(there, head: Head, tmp_path, command, made):
    head.log += CommandResult("fine\n", "", archive(made)).encode()
    assert there(*command) == (0, "fine\n")
    assert len(list(tmp_path.rglob(Path(made).name))) == 1


def test_an_answer_without_end_is_not_read_to_its_end(there, head: Head, monkeypatch):
    monkeypatch.setattr(cluster, "MAX_ANSWER", 10**5)
    head.log += "x" * 10**6
    code, output = there("status")
    assert (code, "an answer of more than 0 MB" in output) == (2, True), output


def test_an_answer_does_not_control_the_terminal(there, head: Head):
    head.log += CommandResult("\x1b]52;c;aGk=\x07\x1b[31mred\x1b[0m\tone\n\x1b[2Jtwo\x9b1m", "\x1b[1Athree\n").encode()
    assert there("status") == (0, "]52;c;aGk=\x1b[31mred\x1b[0m\tone\n[2Jtwo1m[1Athree\n")


@given(st.integers(0, 40))
def test_names_of_jobs_count_on(count):
    taken: list[str] = []
    for _ in range(count):
        taken.append(submission.next_id("a-b", taken))
    assert len(set(taken)) == count
    assert taken[:3] == ["tuner-a-b", "tuner-a-b.2", "tuner-a-b.3"][:count]


@pytest.mark.parametrize("differs", ["Python", "ray", "adversarial-tuner"])
def test_another_release_is_named_with_both_versions(differs):
    here = payload.releases()
    payload.check_releases(here, here)
    with pytest.raises(UserError, match=f"the cluster has {differs} {here[differs]} against 9.9 here: install"):
        payload.check_releases({**here, differs: "9.9"}, here)


def test_a_job_knows_where_the_sweeps_are_or_refuses(monkeypatch):
    monkeypatch.delenv("TUNER_HOME", raising=False)
    with pytest.raises(UserError, match="say --storage"):
        job.run(Request(payload.releases(), is_captured=True), ["status"], app)


def test_a_result_is_sent_as_it_is_whatever_secret_its_encoding_looks_like(run, monkeypatch, tmp_path):
    request = Request(payload.releases(), is_captured=True, folder="/there")
    description = {"metadata": {payload.REQUEST: request.encode()}}
    monkeypatch.setenv("RAY_JOB_CONFIG_JSON_ENV_VAR", json.dumps(description))
    for _ in range(2):
        code, log = run("job", "status", "--home", str(tmp_path / "none"))
        assert (code, CommandResult.find(log)) == (
            0,
            CommandResult(f"no sweeps in {tmp_path}/none: `tuner launch quick` starts one\n", ""),
        )
        monkeypatch.setenv("PGPASSWORD", log[-30:-10])


def test_a_job_that_is_followed_marks_its_errors_and_masks_secrets(run, monkeypatch, tmp_path):
    description = {"metadata": {payload.REQUEST: Request(payload.releases()).encode()}}
    monkeypatch.setenv("RAY_JOB_CONFIG_JSON_ENV_VAR", json.dumps(description))
    monkeypatch.setenv("PGPASSWORD", "secret3")
    code, log = run("job", "status", "of-secret3", "--home", str(tmp_path / "secret3"))
    assert code == 2
    assert f"{ERROR_MARK}error: no sweep named 'of-***' in {tmp_path}/***" in log
