"""The help pages: an example on each that is right, words for values, nothing cut; and what must not be loaded."""

from __future__ import annotations

import re
import shlex
import subprocess
import sys

import pytest
import typer

from tuner.cli.app import app
from tuner.cli.shell.help import examples

ROOT = typer.main.get_command(app)


def commands():
    """Return every command that is shown, by its words."""
    found = {}
    for name, command in ROOT.commands.items():
        if not command.hidden:
            inner = getattr(command, "commands", None)
            found |= {f"{name} {word}": each for word, each in inner.items()} if inner else {name: command}
    return found


@pytest.mark.parametrize("name", commands())
def test_a_page_has_examples_that_parse_and_values_have_names(name):
    command = commands()[name]
    assert examples()[name]
    for example in examples()[name]:
        program, *words = shlex.split(example)
        assert [program, *words[: len(name.split())]] == ["tuner", *name.split()]
        command.make_context(name, words[len(name.split()) :])
    page = command.get_help(typer.Context(command, info_name=name))
    assert all(example in page for example in examples()[name])
    assert re.findall(r"(?<![\w<])(TEXT|INTEGER|FLOAT|PATH|INTEGER RANGE)(?![\w|])", page) == []


@pytest.mark.parametrize("width", [72, 80])
def test_the_list_of_commands_is_not_cut(run, monkeypatch, width):
    monkeypatch.setenv("COLUMNS", str(width))
    monkeypatch.setenv("TERMINAL_WIDTH", str(width))
    code, text = run("-h")
    assert code == 0
    assert text == run("--help")[1]
    assert "..." not in text.replace("[ARGS]...", "")
    assert max(map(len, text.splitlines())) <= width
    assert "delete" in text


def test_the_release_is_told(run):
    assert re.fullmatch(r"adversarial-tuner \S+ \(Python 3\.\d+\.\d+\)\n", run("--version")[1])


def test_help_loads_nothing_heavy():
    check = (
        "import sys; sys.argv = ['tuner', '--help']\n"
        "from tuner.cli.app import main\n"
        "try: main()\n"
        "except SystemExit: pass\n"
        "heavy = {'torch', 'ray', 'optuna', 'mlflow', 'pandas', 'scipy', 'matplotlib', 'pydantic', 'ruamel'}\n"
        "heavy &= {name.partition('.')[0] for name in sys.modules}\n"
        "heavy |= {'tuner.cli.launch', 'tuner.cli.monitor'} & set(sys.modules)\n"  # no command is made
        "sys.exit(f'loaded {heavy}' if heavy else 0)"
    )
    done = subprocess.run([sys.executable, "-c", check], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert {name.split()[0] for name in commands()} <= set(done.stdout.split())


def test_what_reads_a_sweep_loads_no_scipy_before_it_computes_with_it():
    check = (
        "import sys\n"
        "import tuner.results.compare, tuner.results.confirmation, tuner.results.judging, tuner.tracking.sync\n"
        "sys.exit('loaded' if 'scipy' in sys.modules else 0)"
    )
    subprocess.run([sys.executable, "-c", check], check=True)


def test_ctrl_c_while_the_command_line_is_loaded_ends_it_without_a_word():
    program = """
import sys

class Interrupting:
    def find_spec(self, name, path=None, target=None):
        if name == "typer":
            raise KeyboardInterrupt

sys.meta_path.insert(0, Interrupting())
from tuner.__main__ import main
main()
"""
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=False)
    assert (done.returncode, done.stdout, done.stderr) == (130, "", "")
