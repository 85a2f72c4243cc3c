"""What the documents say of the project is so."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from tuner.cli import app
from tuner.fields import parse_space

ROOT = Path(__file__).parent.parent
README = (ROOT / "README.md").read_text()
MAPPED = re.findall(r"^\| `([^`]+)` \|", README, flags=re.MULTILINE)
SOURCES = sorted(
    str(path.relative_to(ROOT))
    for room in ("tuner", "trainables", "search_spaces")
    for path in (ROOT / room).iterdir()
    if path.suffix in (".py", ".yaml") and path.name not in ("__init__.py", "__main__.py")
)


def test_the_map_names_every_source_file_and_nothing_else():
    assert sorted(path for path in MAPPED if path.split("/")[0] in ("tuner", "trainables", "search_spaces")) == SOURCES


@pytest.mark.parametrize("path", MAPPED)
def test_every_path_of_the_map_is_there(path):
    assert (ROOT / path).exists()


def test_every_command_is_shown():
    commands = {command.name or command.callback.__name__ for command in app.registered_commands}
    commands |= {group.name for group in app.registered_groups}
    assert {name for name in commands if f"tuner {name}" not in README} == set()


def test_the_search_space_that_is_shown_is_one():
    shown = re.findall(r"```yaml\n(.*?)```", README, flags=re.DOTALL)
    assert [parse_space(text, "README.md").name for text in shown] == ["mine"]


def test_pictures_and_documents_exist():
    for path in re.findall(r"\]\(([^)]+)\)", README):
        assert (ROOT / path).exists()
