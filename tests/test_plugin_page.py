"""The page about plug-ins shows the files of the example, as they are, and no file is left out."""

import re

from tests.support.wheels import EXAMPLE, ROOT

PAGE = (ROOT / "docs" / "howto" / "plugin.md").read_text()


def test_every_file_of_the_example_is_shown_as_it_is():
    blocks = re.findall(r"```(?:toml|python|yaml)\n(.*?)```", PAGE, re.DOTALL)
    files = [path for path in EXAMPLE.rglob("*") if path.is_file() and path.suffix in (".py", ".toml", ".yaml")]
    shown = {path.name for path in files if path.read_text() in blocks}
    assert shown == {path.name for path in files} - {"__init__.py"}
    assert len(blocks) == len(shown)


def test_the_example_is_short():
    parts = [path for path in EXAMPLE.rglob("*.*") if path.is_file() and path.name != "test_plugin.py"]
    num_lines = sum(len(path.read_text().splitlines()) for path in parts if path.suffix in (".py", ".toml", ".yaml"))
    assert num_lines < 150
    assert f"in {num_lines} lines" in PAGE
