"""A sweep that goes on with other software: said, refused where the code that trains differs, accepted and recorded."""

from __future__ import annotations

import copy
import json
import shutil
from pathlib import Path

import pytest
from rich.console import Console

import trainables
from tuner.errors import UserError
from tuner.execution import software as module
from tuner.execution.launch import prepare_resume
from tuner.execution.software import compare_software
from tuner.sweep import provenance
from tuner.sweep.provenance import software, training_code

# MLflow's libraries warn when they are first imported.
pytestmark = pytest.mark.filterwarnings("ignore::DeprecationWarning", "ignore::FutureWarning")

QUIET = Console(quiet=True)
CHANGED = "trainables/attacks/gradient.py"


@pytest.fixture
def code(tmp_path, monkeypatch):
    """Return a copy of the trainables, whose digest is taken instead of that of the real ones."""
    copied = tmp_path / "code" / "trainables"
    ignored = shutil.ignore_patterns("__pycache__")
    shutil.copytree(Path(trainables.__file__).parent, copied, ignore=ignored)
    monkeypatch.setattr(provenance.trainables, "__file__", str(copied / "__init__.py"))
    provenance.training_code.cache_clear()
    yield copied
    provenance.training_code.cache_clear()


def edit(code: Path, name: str, before: str, after: str) -> None:
    path = code.parent / name
    text = path.read_text()
    assert before in text
    path.write_text(text.replace(before, after, 1))
    provenance.training_code.cache_clear()


def resumed(sweep) -> list[dict]:
    return json.loads((sweep.folder / "provenance.json").read_text()).get("resumed", [])


def test_comments_docstrings_layout_and_other_code_are_no_change(code, make_sweep):
    sweep = make_sweep()
    before = training_code()
    edit(code, CHANGED, "from __future__", "# a comment\n\n\nfrom __future__")
    edit(code, CHANGED, '"""', '"""Other words. ')
    edit(code, "trainables/storage/atomic.py", "import errno", "import errno\n\nOTHER = 1")
    assert training_code() == before
    prepare_resume(sweep, QUIET)
    assert resumed(sweep) == []


def test_other_code_is_refused_by_name_until_it_is_accepted_which_is_recorded(code, make_sweep, run):
    sweep = make_sweep()
    original = (sweep.folder / "provenance.json").read_text()
    edit(code, CHANGED, "import torch", "import torch\n\nOTHER = 1")
    for command in (["resume", "tiny"], ["resume", "tiny", "--detach"], ["confirm", "tiny"]):
        status, output = run(*command, "--home", str(sweep.folder.parent))
        how = f"`tuner {command[0]} tiny --accept-code-change`"
        assert (status, CHANGED in output, how in output) == (2, True, True), output
    assert (sweep.folder / "provenance.json").read_text() == original
    prepare_resume(sweep, QUIET, accept_code_change=True)
    content = json.loads((sweep.folder / "provenance.json").read_text())
    assert [entry["accepted_code_change"] for entry in content["resumed"]] == [True]
    assert content["resumed"][0]["code"] == training_code()
    unchanged = json.loads(original)
    assert {key: content[key] for key in unchanged if key != "sha256"} == {
        key: value for key, value in unchanged.items() if key != "sha256"
    }
    prepare_resume(sweep, QUIET)  # it has been accepted
    assert len(resumed(sweep)) == 1


def test_a_sweep_is_evaluated_with_other_code_only_if_it_is_accepted(code, trained_sweep, run):
    before = (trained_sweep.folder / "provenance.json").read_bytes()
    home = ["--home", str(trained_sweep.folder.parent)]
    edit(code, CHANGED, "import torch", "import torch\n\nOTHER = 1")
    few = ["evaluate", "real", "--images", "1", "--workers", "1", *home]
    status, output = run(*few)
    assert (status, "`tuner evaluate real --accept-code-change`" in output) == (2, True), output
    assert not list(trained_sweep.folder.glob("*/*/final.json"))
    status, output = run(*few, "--accept-code-change")
    assert status == 0, output
    assert [entry["accepted_code_change"] for entry in resumed(trained_sweep)] == [True]
    assert run("verify", "real", *home)[0] == 0
    path = trained_sweep.folder / "provenance.json"
    newest = path.read_bytes()
    path.write_bytes(before)
    status, output = run("verify", "real", *home)
    assert (status, f"{path} is not what was written last" in output.replace("\n", "")) == (2, True)
    path.write_bytes(newest)
    assert run("copy", "real", "copied", *home)[0] == 0
    assert run("verify", "copied", *home)[0] == 0
    edit(code, CHANGED, "OTHER = 1", "OTHER = 2")
    assert run(*few)[0] == 0  # nothing is left to be evaluated
    assert len(resumed(trained_sweep)) == 1


def test_going_back_to_code_that_trained_runs_is_no_change(code, make_sweep):
    sweep = make_sweep()
    edit(code, CHANGED, "import torch", "import torch\n\nOTHER = 1")
    prepare_resume(sweep, QUIET, accept_code_change=True)
    edit(code, CHANGED, "import torch\n\nOTHER = 1", "import torch")
    prepare_resume(sweep, QUIET)
    assert [entry["accepted_code_change"] for entry in resumed(sweep)] == [True, False]


def test_what_a_run_is_computed_with_is_code_that_trains():
    files = training_code()["files"]
    for name in (
        "config/recipes",
        "common/seeds",
        "common/tasks",
        "config/schedules",
        "training/loop",
        "training/published",
    ):
        assert f"trainables/{name}.py" in files
    root = Path(trainables.__file__).parent
    assert [name for name in provenance.TRAINING_CODE if not (root / name).exists()] == []


def test_a_new_or_removed_file_is_a_change(code, make_sweep):
    sweep = make_sweep()
    (code / "training" / "new.py").write_text("A = 1\n")
    provenance.training_code.cache_clear()
    with pytest.raises(UserError, match=r"trainables/training/new\.py"):
        prepare_resume(sweep, QUIET)


def test_another_commit_and_other_packages_are_said_in_a_line(make_sweep, monkeypatch, capsys):
    sweep = make_sweep()
    other = copy.deepcopy(software())
    other["git_commit"] = "0123456789abcdef0123-dirty"
    other["versions"]["torch"] = "9.9.9"
    monkeypatch.setattr(module, "software", lambda: other)
    prepare_resume(sweep, Console(width=400))
    output = capsys.readouterr().out
    assert "tiny goes on with other software" in output
    assert "-> 9.9.9" in output
    assert "-> 0123456789ab with changes" in output
    assert len(output.strip().splitlines()) == 1
    prepare_resume(sweep, Console(width=400))
    assert capsys.readouterr().out.strip() == ""


def test_a_sweep_of_an_earlier_release_goes_on_and_is_compared_from_then_on(code, make_sweep, capsys):
    sweep = make_sweep()
    path = sweep.folder / "provenance.json"
    content = {key: value for key, value in json.loads(path.read_text()).items() if key not in ("code", "sha256")}
    path.write_text(json.dumps(content))
    prepare_resume(sweep, Console())
    assert capsys.readouterr().out.strip() == ""
    assert resumed(sweep)[0]["code"] == training_code()
    edit(code, CHANGED, "import torch", "import torch\n\nOTHER = 1")
    with pytest.raises(UserError, match="is not the one that trained"):
        prepare_resume(sweep, QUIET)


def test_the_same_software_is_no_change():
    now = software()
    assert compare_software({**now, "format": 1}, now) is None


@pytest.mark.parametrize(
    "content", [None, b"{", b"[]", b'{"format": 1}'], ids=["missing", "cut off", "a list", "empty"]
)
def test_provenance_that_is_missing_or_damaged_is_said_before_anything_is_made(make_sweep, content):
    sweep = make_sweep()
    path = sweep.folder / "provenance.json"
    path.unlink()
    if content is not None:
        path.write_bytes(content)
    with pytest.raises(UserError, match=r"provenance\.json is (missing|damaged).*put a copy of it in its place"):
        prepare_resume(sweep, QUIET)
