"""A folder of images and a network in a file, from the launch to the strongest attacks, by the command line alone."""

from __future__ import annotations

import pytest

from tests.integration.conftest import CommandLine
from tests.support.own_images import write_project

pytestmark = [
    pytest.mark.ray,
    pytest.mark.filterwarnings("ignore::DeprecationWarning", "ignore::FutureWarning"),
]


def test_three_hundred_images_and_a_network_of_ones_own(tmp_path, command_line: CommandLine):
    command_line.environment["TUNER_CACHE"] = str(tmp_path / "cache")
    command_line.draw_nothing()
    space = write_project(tmp_path)
    assert "3 classes: circles, squares, stripes" in command_line.run("launch", str(space))
    assert "trial-000" in command_line.run("compare", "shapes")
    command_line.run("verify", "shapes")
    bundle = tmp_path / "bundle"
    command_line.run("export", "shapes", "--output", str(bundle))
    assert "robust" in command_line.run("evaluate", str(bundle), "--tier", "final", "--images", "4")
