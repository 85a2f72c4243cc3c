"""Tables of what can be named: ours, and those of installed packages, broken ones among them."""

import pytest

from trainables.config.plugins.registries import CLASSIFIERS, GENERATORS, Registry
from trainables.errors import UserError
from tuner.results.terminal import library

POINTS = """\
[adversarial_tuner.classifiers]
twice = json:dumps
broken = module_that_is_not_there:build
small_cnn = json:loads
"""


@pytest.fixture
def installed(tmp_path, monkeypatch):
    info = tmp_path / "outsider-1.5.dist-info"
    info.mkdir()
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: outsider\nVersion: 1.5\n")
    (info / "entry_points.txt").write_text(POINTS)
    monkeypatch.syspath_prepend(str(tmp_path))
    return Registry("classifiers", {name: entry.target for name, entry in CLASSIFIERS.ours.items()})


def test_ours_are_functions():
    assert all(callable(registry[name]) for registry in (CLASSIFIERS, GENERATORS) for name in registry.ours)


def test_a_package_adds_names_and_replaces_none_of_ours(installed):
    assert installed.names() == ("small_cnn", "madry_cnn", "mlp", "twice", "broken")
    assert installed["twice"]([1]) == "[1]"
    assert installed["small_cnn"] is CLASSIFIERS["small_cnn"]


def test_one_that_cannot_be_imported_is_a_line_of_its_own(installed, monkeypatch):
    with pytest.raises(UserError, match=r"broken of outsider 1\.5 cannot be imported .*ModuleNotFoundError"):
        installed["broken"]
    monkeypatch.setattr(library, "ALL", (installed,))
    first, second = library.plugin_lines()
    assert first == "classifiers: twice, of outsider 1.5"
    assert second.startswith("classifiers: broken of outsider 1.5 cannot be imported")
