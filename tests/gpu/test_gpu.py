"""What of the GPU's measurements can be tested without a GPU."""

import json
import subprocess
import sys

from ruamel.yaml import YAML

from search_spaces import text_of
from search_spaces.parameters import with_changes
from tests.gpu.recipes import GENERATOR
from trainables.config import parse

IMPORTS = """
import sys
class Refuse:
    def find_spec(self, name, path=None, target=None):
        if name.split(".")[0] in {"ray", "optuna", "mlflow", "tenacity", "pooch", "sklearn", "scipy", "ruamel", "rich"}:
            raise ImportError(name)
sys.meta_path.insert(0, Refuse())
import runpy
sys.argv[1:] = sys.argv[2:]
runpy.run_module("tests.gpu", run_name="__main__")
"""


def test_it_needs_few_packages_and_says_what_it_skips_without_a_gpu(tmp_path, monkeypatch):
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "")
    out = tmp_path / "table.json"
    arguments = [sys.executable, "-c", IMPORTS, "-", "--out", str(out), "eager", "cifar"]
    done = subprocess.run(arguments, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    rows = json.loads(out.read_text())["rows"]
    assert [row["section"] for row in rows] == ["eager", "cifar"]
    assert all("no GPU" in row["why"] for row in rows)
    assert "this machine has no GPU" in done.stdout


def test_the_measured_run_has_the_settings_that_gan_tries_first():
    first = YAML(typ="safe").load(text_of("gan")[0])["first"][0]
    assert parse(with_changes(GENERATOR, first)) == parse(GENERATOR)
    assert first["generator"].keys() <= GENERATOR["generator"].keys()
