"""What of the GPU's measurements can be tested without a GPU."""

import json
import subprocess
import sys

from search_spaces import configurations
from tests.gpu.recipes import QUICK
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


def test_the_measured_run_is_the_first_configuration_of_quick():
    space = configurations.load_space("quick")
    values = space.first_parameters()[0]
    settings = space.settings(lambda parameter: values[parameter.name])
    expected = configurations.configuration_for(space, settings, seed=0)
    ours = parse(QUICK).model_dump(mode="json")
    for unused in ("steps", "target_generator_loss", "max_generator_turns"):  # by a constant ratio
        del expected["ratio"][unused], ours["ratio"][unused]
    assert ours == expected
