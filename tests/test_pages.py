"""The README and the pages of docs/: what they say of the project is so, and what they show can be typed."""

from __future__ import annotations

import ast
import re
import runpy
import shlex
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
import typer

from search_spaces.configurations import parse_space
from tuner.cli.app import app

ROOT = Path(__file__).parent.parent
PAGES = {
    str(path.relative_to(ROOT)): path.read_text()
    for path in (*ROOT.glob("*.md"), *(ROOT / "docs").rglob("*.md"), *(ROOT / "docker").glob("*.md"))
}
README, ROOM_PAGE = PAGES["README.md"], PAGES["docs/explanation/rooms.md"]
PACKAGES = ("tuner", "trainables", "search_spaces")
ROOMS = {
    f"{path.parent.relative_to(ROOT)}/"
    for package in PACKAGES
    for path in (ROOT / package).rglob("__init__.py")
    if path.parent.name not in PACKAGES
}
COMMANDS = typer.main.get_command(app)
MADE = runpy.run_path(str(ROOT / "docs" / "make_reference.py"), run_name="made")
_FENCE = re.compile(r"^```(\w*)\n(.*?)^```", flags=re.MULTILINE | re.DOTALL)


def blocks(text: str, *languages: str) -> Iterator[str]:
    """Yield the fenced blocks of a page in one of some languages."""
    return (block for language, block in _FENCE.findall(text) if language in languages)


def command_lines() -> Iterator[tuple[str, str]]:
    """Yield every line of a page that calls ``tuner``, with the page's name."""
    for page, text in PAGES.items():
        if page == "docs/reference/commands.md":
            continue
        for block in blocks(text, "", "console", "sh", "bash"):
            for line in block.replace("\\\n", " ").splitlines():
                if line.startswith("tuner "):
                    yield page, line


def test_the_readme_is_short():
    assert len(README.splitlines()) <= 120


def rooms_in(text: str) -> set[str]:
    """Return the folders in the first column of a page's tables."""
    cells = re.findall(r"^\| (`[^|]+`)[^|]*\|", text, flags=re.MULTILINE)
    return {name for cell in cells for name in re.findall(r"`([^`]+/)`", cell)}


def test_the_maps_name_every_room():
    of_packages = {name for name in rooms_in(ROOM_PAGE) if name.split("/")[0] in PACKAGES}
    assert of_packages == ROOMS
    assert {name for name in ROOMS if name.count("/") == 2} <= rooms_in(README)


@pytest.mark.parametrize("path", sorted(rooms_in(README) | rooms_in(ROOM_PAGE)))
def test_every_path_of_the_maps_is_there(path):
    assert (ROOT / path).exists()


def test_every_command_is_shown():
    commands = {one.name or one.callback.__name__ for one in app.registered_commands if not one.hidden}
    commands |= {group.name for group in app.registered_groups}
    shown = PAGES["docs/howto/everyday.md"] + PAGES["docs/howto/cluster.md"]
    assert {name for name in commands if f"tuner {name}" not in shown} == set()


@pytest.mark.parametrize(("page", "line"), sorted(set(command_lines())))
def test_a_line_that_is_shown_can_be_typed(page, line, monkeypatch):
    monkeypatch.delenv("RAY_ADDRESS", raising=False)
    _, *words = shlex.split(line, comments=True)
    group, name = COMMANDS, "tuner"
    while words and hasattr(group, "commands"):
        name = words.pop(0)
        assert name in group.commands, f"{page}: {line}"
        group = group.commands[name]
    group.make_context(name, words)


@pytest.mark.parametrize("page", [page for page in PAGES if page.startswith(("README", "docs/"))])
def test_its_spaces_are_right_and_its_python_is_python(page):
    for text in blocks(PAGES[page], "yaml"):
        if text.startswith("name:"):
            assert parse_space(text, page).name
    for text in blocks(PAGES[page], "python"):
        ast.parse(text)


@pytest.mark.parametrize("page", PAGES)
def test_its_links_lead_somewhere(page):
    for target in re.findall(r"\]\(([^)#]+)(?:#[^)]*)?\)", PAGES[page]):
        if "://" not in target:
            assert ((ROOT / page).parent / target).exists(), target


@pytest.mark.parametrize("name", ["commands.md", "space_file.md", "settings.md"])
def test_the_reference_is_that_of_the_code(name):
    assert MADE["pages"]()[name] == PAGES[f"docs/reference/{name}"], "make docs"


def test_the_pages_are_built_without_a_warning(tmp_path):
    command = [
        sys.executable,
        "-m",
        "sphinx",
        "--quiet",
        "--fail-on-warning",
        str(ROOT / "docs"),
        str(tmp_path / "html"),
    ]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert (done.returncode, done.stderr) == (0, "")
    assert (tmp_path / "html" / "tutorials" / "first_sweep.html").exists()
