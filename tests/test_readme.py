"""What the documents say of the project is so."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from search_spaces.configurations import parse_space
from tuner.cli.app import app

ROOT = Path(__file__).parent.parent
README = (ROOT / "README.md").read_text()
MAPPED = re.findall(r"^\| `([^`]+)` \|", README, flags=re.MULTILINE)
PACKAGES = ("tuner", "trainables", "search_spaces")
ROOMS = {
    f"{path.parent.relative_to(ROOT)}/"
    for package in PACKAGES
    for path in (ROOT / package).rglob("__init__.py")
    if path.parent.name not in PACKAGES
}


def test_the_map_names_every_room():
    assert {path for path in MAPPED if path.split("/")[0] in PACKAGES and path.endswith("/")} == ROOMS


@pytest.mark.parametrize("path", MAPPED)
def test_every_path_of_the_map_is_there(path):
    assert (ROOT / path).exists()


def test_every_command_is_shown():
    commands = {one.name or one.callback.__name__ for one in app.registered_commands if not one.hidden}
    commands |= {group.name for group in app.registered_groups}
    assert {name for name in commands if f"tuner {name}" not in README} == set()


def test_the_search_space_that_is_shown_is_one():
    shown = re.findall(r"```yaml\n(.*?)```", README, flags=re.DOTALL)
    assert [parse_space(text, "README.md").name for text in shown] == ["mine"]


def test_pictures_and_documents_exist():
    for path in re.findall(r"\]\(([^)]+)\)", README):
        assert (ROOT / path).exists()
