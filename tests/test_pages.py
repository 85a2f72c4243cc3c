"""The README and the pages of docs/: what they say of the project is so, and what they show can be typed."""

from __future__ import annotations

import ast
import importlib
import importlib.util
import json
import re
import runpy
import shlex
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
import typer
from ruamel.yaml import YAML

from search_spaces.configurations import parse_space
from search_spaces.parsing.json_schema import json_schema
from tests.support.plugins import example_package, installed
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
SECTIONS = set(json_schema()["properties"])
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
    commands = {name for name, command in COMMANDS.commands.items() if not command.hidden}
    shown = PAGES["docs/howto/everyday.md"] + PAGES["docs/howto/cluster.md"]
    assert {name for name in commands if f"tuner {name}" not in shown} == set()


@pytest.mark.parametrize(("page", "line"), sorted(set(command_lines())))
def test_a_line_that_is_shown_can_be_typed(page, line, monkeypatch):
    monkeypatch.delenv("RAY_ADDRESS", raising=False)
    parse_command(page, line)


def parse_command(page: str, line: str) -> None:
    """Parse a line that calls ``tuner`` as the command line does."""
    _, *words = shlex.split(line, comments=True)
    group, name = COMMANDS, "tuner"
    while words and hasattr(group, "commands") and not words[0].startswith("-"):
        name = words.pop(0)
        assert name in group.commands, f"{page}: {line}"
        group = group.commands[name]
    if group is COMMANDS:
        options = {option for one in group.get_params(typer.Context(group)) for option in one.opts}
        assert options | {"-h"} >= set(words), f"{page}: {line}"
    else:
        group.make_context(name, words)


def test_a_command_within_a_sentence_can_be_typed(monkeypatch):
    """But for what everybody knows to add, such as the name of a sweep."""
    monkeypatch.delenv("RAY_ADDRESS", raising=False)
    for page, text in PAGES.items():
        for line in re.findall(r"`(tuner [^`\n]+)`", _FENCE.sub("", text)):
            try:
                parse_command(page, line)
            except Exception as error:
                if type(error).__name__ != "MissingParameter":
                    raise


@pytest.fixture
def example(tmp_path):
    """Have the example plug-in, as that page does."""
    with installed(example_package(tmp_path)):
        yield


@pytest.mark.parametrize("page", [page for page in PAGES if page.startswith(("README", "docs/"))])
def test_its_spaces_are_right_and_its_python_imports_what_is_there(page, request):
    if page == "docs/howto/plugin.md":
        request.getfixturevalue("example")
    for text in blocks(PAGES[page], "yaml"):
        if text.startswith("name:"):
            assert parse_space(text, page).name
        else:
            assert set(YAML(typ="safe").load(text)) <= SECTIONS, text
    for text in blocks(PAGES[page], "python"):
        for node in ast.walk(ast.parse(text)):
            modules = [name.name for name in node.names] if isinstance(node, ast.Import) else []
            modules += [str(node.module)] if isinstance(node, ast.ImportFrom) else []
            for module in modules:
                assert importlib.util.find_spec(module), f"{page}: {module}"
                if isinstance(node, ast.ImportFrom) and module.split(".")[0] in PACKAGES:
                    there = importlib.import_module(module)
                    assert [name.name for name in node.names if not hasattr(there, name.name)] == [], page


def test_the_page_of_the_notebook_is_made_from_it():
    notebook = json.loads((ROOT / "docs" / "tutorials" / "in_a_notebook.ipynb").read_text())
    made = runpy.run_path(str(ROOT / "docs" / "run_notebook.py"), run_name="made")
    assert made["page"](notebook, "in_a_notebook.ipynb") == PAGES["docs/tutorials/in_a_notebook.md"]


def test_every_word_of_the_glossary_is_explained_where_the_tutorials_use_it_first():
    glossary = re.findall(r"^\| ([a-z ]+) \|", PAGES["docs/explanation/words.md"], re.MULTILINE)[1:]
    assert {"space", "compute", "confirmed"} <= set(glossary)
    names = ("first_sweep", "reading_a_comparison", "from_search_to_export")
    text = "".join(_FENCE.sub("", PAGES[f"docs/tutorials/{name}.md"]) for name in names)
    text = re.sub(r"^#.*|`[^`\n]*`|\]\([^)]*\)|^This goes on with .*", "", text, flags=re.MULTILINE)
    for word in glossary:
        first = re.search(rf"\S*\b{word.replace(' ', '.')}s?\b\S*", text, re.IGNORECASE)
        assert first, word
        assert first[0].startswith("*"), f"{word}: {text[max(first.start() - 60, 0) : first.end()]}"


@pytest.mark.parametrize("page", PAGES)
def test_its_links_lead_somewhere(page):
    for target in re.findall(r"\]\(([^)#]+)(?:#[^)]*)?\)", PAGES[page]):
        if "://" not in target:
            assert ((ROOT / page).parent / target).exists(), target


@pytest.mark.parametrize("name", ["commands.md", "space_file.md", "settings.md"])
def test_the_reference_is_that_of_the_code(name):
    assert MADE["pages"]()[name] == PAGES[f"docs/reference/{name}"], "make docs"


def test_tab_completes_the_settings_of_the_code():
    assert MADE["completed_settings"]() == MADE["SETTINGS"].read_text(), "make docs"


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
